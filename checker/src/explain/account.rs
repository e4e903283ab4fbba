//! A failure as it is told, whoever judged it: a ZooKeeper history or one that others wrote.
//!
//! Words for the console are made here, the page by `timeline`; both tell the same. What
//! always holds: nothing of it decides anything, and no line holds a control character.
//!
//! Answers to: `consistency.md` 3.5.

use super::deed::Deed;
use super::words;
use std::fmt;

/// Most things of a reduced history that are told one by one.
const STORY_MAX: usize = 40;
/// Most nodes of a start state that are told one by one.
const NODES_MAX: usize = 12;

/// A failure as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The property's number: `P9`; empty if it has none.
    pub code: &'static str,
    /// The property's name.
    pub name: &'static str,
    /// What the history was judged as: `queue`; empty for a ZooKeeper history.
    pub model: &'static str,
    /// What it promises.
    pub promise: &'static str,
    /// The judge's own reason.
    pub reason: String,
    /// What convicts.
    pub convicting: Vec<Convicting>,
    /// The state before; more than one where it can have been different.
    pub before: Vec<String>,
    /// What kind of wrong it is; empty where nothing is known of that.
    pub class: &'static str,
    /// Why it is of that kind; empty where nothing was looked at.
    pub class_reason: String,
    /// A smaller history that convicts the same way; None if none was found.
    pub reduced: Option<Reduced>,
}

/// One thing that convicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Convicting {
    /// The thing.
    pub deed: Deed,
    /// Which part it plays; empty where that goes without saying.
    pub part: String,
    /// What would have been right; empty where nothing is known of that.
    pub right: String,
}

/// A reduced history as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reduced {
    /// How much is left and why not less.
    pub summary: String,
    /// Where it begins, if that is not nowhere: the zxid, and every node there is then.
    pub start: Option<(i64, Vec<String>)>,
    /// What is left, and whether it convicts.
    pub story: Vec<(Deed, bool)>,
}

impl Account {
    /// The property as one says it: `P9 durability`.
    pub fn property(&self) -> String {
        match self.code {
            "" => self.name.to_string(),
            code => format!("{code} {}", self.name),
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid: {}", self.property())?;
        match self.model {
            "" => writeln!(f)?,
            model => writeln!(f, " (model {model})")?,
        }
        writeln!(f, "  {}", self.promise)?;
        write!(f, "\n  found     {}", words::plain(&self.reason))?;
        for (index, convicting) in self.convicting.iter().enumerate() {
            convicting.tell(f, if index == 0 { "convicts" } else { "" })?;
        }
        if !self.before.is_empty() {
            write!(f, "\n  before    {}", words::plain(&self.before.join("; ")))?;
        }
        if !self.class.is_empty() {
            write!(f, "\n  class     {}", self.class)?;
        }
        if !self.class_reason.is_empty() {
            write!(f, "\n            {}", self.class_reason)?;
        }
        match &self.reduced {
            Some(reduced) => reduced.tell(f),
            None => Ok(()),
        }
    }
}

impl Convicting {
    fn tell(&self, f: &mut fmt::Formatter<'_>, title: &str) -> fmt::Result {
        let deed = &self.deed;
        write!(f, "\n  {title:<9} {}: {}", deed.who(), deed.what)?;
        if !deed.told.is_empty() {
            write!(f, "\n            → {}", deed.told)?;
        }
        write!(f, "\n              {} ({})", deed.when(), deed.places())?;
        if !self.part.is_empty() {
            write!(f, "\n            {}", self.part)?;
        }
        if !self.right.is_empty() {
            write!(f, "\n            right would have been: {}", self.right)?;
        }
        Ok(())
    }
}

impl Reduced {
    fn tell(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n\n  reduced   {}", self.summary)?;
        if let Some((zxid, nodes)) = &self.start {
            let count = nodes.len();
            write!(f, "\n    start at zxid {zxid:#x} with {count} nodes")?;
            for node in nodes.iter().take(NODES_MAX) {
                write!(f, "\n      {node}")?;
            }
        }
        for (deed, _) in self.story.iter().take(STORY_MAX) {
            write!(f, "\n    {}: {}: {}", deed.when(), deed.who(), deed.what)?;
            if !deed.told.is_empty() {
                write!(f, " → {}", deed.told)?;
            }
        }
        match self.story.len().saturating_sub(STORY_MAX) {
            0 => Ok(()),
            more => write!(f, "\n    and {more} more"),
        }
    }
}
