//! Traffic, and what it must leave behind.
