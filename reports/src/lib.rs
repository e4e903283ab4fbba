//! Run directories turned into something to look at.
