//! What went wrong, in one line that names the input and the cure.

use std::fmt;

/// A line for people. The command ends with exit code 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble(String);

impl Trouble {
    /// From the line itself.
    pub fn new(line: impl Into<String>) -> Trouble {
        Trouble(line.into())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Trouble {}
