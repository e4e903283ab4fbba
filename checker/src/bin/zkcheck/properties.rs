//! `zkcheck properties`: what is judged, one line each.

use crate::output_error;
use gamekeeper_checker::Property;
use gamekeeper_checker::explain::meaning;
use std::io::{self, Write};

/// Prints the properties. Returns the exit code.
///
/// # Errors
/// Standard output cannot be written.
pub fn run() -> Result<u8, String> {
    let mut output = io::stdout().lock();
    let lines = Property::ALL.iter().try_for_each(|property| {
        writeln!(
            output,
            "{:<4}{:<28} {}",
            property.code(),
            property.name(),
            meaning::promise(*property)
        )
    });
    lines.or_else(output_error).map(|()| 0)
}
