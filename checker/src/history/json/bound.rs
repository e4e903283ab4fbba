//! How many objects a line may hold.
//!
//! An object of two bytes becomes a struct of hundreds, so that a line within the bound on its
//! length could still take gigabytes. Lines that cannot hold too many are not looked at.

/// Most objects in a line: the nodes of a start state, the parts of a multi.
pub const OBJECTS_MAX: usize = 1 << 18;

/// True if a line holds more objects than may be. Braces within strings do not count.
pub fn holds_too_many(line: &str) -> bool {
    if line.len() <= OBJECTS_MAX {
        return false;
    }
    let (mut objects, mut quoted, mut escaped) = (0usize, false, false);
    for byte in line.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' if !quoted => objects += 1,
            _ => {}
        }
    }
    objects > OBJECTS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_within_strings_are_not_objects() {
        let braces = "{".repeat(OBJECTS_MAX * 2);
        assert!(holds_too_many(&braces));
        assert!(!holds_too_many(&format!("{{\"a\":\"\\\"{braces}\"}}")));
        assert!(!holds_too_many("{}"));
    }
}
