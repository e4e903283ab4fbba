//! What a path may look like, and how to take it apart.
//!
//! Answers to `PathUtils.validatePath` and to the checks of `PrepRequestProcessor`, which
//! looks up the parent of a path before it has validated it: [`parent`] takes any string.

/// The root.
pub const ROOT: &str = "/";
/// The server's own corner of the tree.
pub const ZOOKEEPER: &str = "/zookeeper";
/// Where quotas are kept.
pub const QUOTA: &str = "/zookeeper/quota";
/// Where the ensemble's membership is kept.
pub const CONFIG: &str = "/zookeeper/config";

/// Why a path is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PathError {
    /// The empty path.
    #[error("path is empty")]
    Empty,
    /// It does not begin with a slash.
    #[error("path does not start at the root")]
    Relative,
    /// It ends with a slash and is not the root.
    #[error("path ends with a slash")]
    TrailingSlash,
    /// Two slashes with nothing between them.
    #[error("path has an empty name in it")]
    EmptyName,
    /// A name is `.` or `..`.
    #[error("path has a relative name in it")]
    RelativeName,
    /// A character ZooKeeper does not allow in names.
    #[error("path has a forbidden character")]
    Character,
}

/// Whether a node may have this path.
pub fn validate(path: &str) -> Result<(), PathError> {
    if path.is_empty() {
        return Err(PathError::Empty);
    }
    let Some(names) = path.strip_prefix('/') else {
        return Err(PathError::Relative);
    };
    if names.is_empty() {
        return Ok(());
    }
    if names.ends_with('/') {
        return Err(PathError::TrailingSlash);
    }
    for name in names.split('/') {
        match name {
            "" => return Err(PathError::EmptyName),
            "." | ".." => return Err(PathError::RelativeName),
            _ => {}
        }
    }
    if path.chars().all(allowed) {
        Ok(())
    } else {
        Err(PathError::Character)
    }
}

/// Control characters, surrogates, the private use area, specials, and everything outside
/// the basic plane are not allowed.
fn allowed(c: char) -> bool {
    !matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..)
}

/// The text before the last slash, "/" when that is empty; `None` without a slash. The
/// root is its own parent here, as the lookup of its parent finds the root.
pub fn parent(path: &str) -> Option<&str> {
    match path.rfind('/')? {
        0 => Some(ROOT),
        at => Some(&path[..at]),
    }
}

/// The name behind the last slash.
pub fn name(path: &str) -> &str {
    path.rfind('/').map_or(path, |at| &path[at + 1..])
}

/// The check that comes before the lookup of a create's or delete's parent: a slash
/// somewhere, and no NUL.
pub fn has_parent(path: &str) -> bool {
    path.contains('/') && !path.contains('\0')
}

/// Nodes that are always there and can never be deleted.
pub fn is_protected(path: &str) -> bool {
    matches!(path, ROOT | ZOOKEEPER | QUOTA | CONFIG)
}

/// The path of a sequential create: ten digits of the parent's stored counter, signed.
pub fn with_sequence(path: &str, counter: i32) -> String {
    format!("{path}{counter:010}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_names() {
        for good in [
            "/",
            "/a",
            "/a/b",
            "/a.b",
            "/...",
            "/a/.b",
            "/\u{a0}",
            "/\u{ffef}",
            "/ ",
        ] {
            assert_eq!(validate(good), Ok(()), "{good:?}");
        }
        let bad = [
            ("", PathError::Empty),
            ("a", PathError::Relative),
            ("/a/", PathError::TrailingSlash),
            ("//", PathError::TrailingSlash),
            ("/a//b", PathError::EmptyName),
            ("//a", PathError::EmptyName),
            ("/.", PathError::RelativeName),
            ("/a/../b", PathError::RelativeName),
            ("/a\0", PathError::Character),
            ("/\u{1}", PathError::Character),
            ("/\u{7f}", PathError::Character),
            ("/\u{9f}", PathError::Character),
            ("/\u{e000}", PathError::Character),
            ("/\u{f8ff}", PathError::Character),
            ("/\u{fffd}", PathError::Character),
            ("/\u{1f600}", PathError::Character),
        ];
        for (path, why) in bad {
            assert_eq!(validate(path), Err(why), "{path:?}");
        }
    }

    #[test]
    fn parents_of_any_string() {
        assert_eq!(parent("/"), Some("/"));
        assert_eq!(parent("/a"), Some("/"));
        assert_eq!(parent("/a/b"), Some("/a"));
        assert_eq!(parent("/a/"), Some("/a"));
        assert_eq!(parent("a"), None);
        assert_eq!(name("/a/b"), "b");
    }

    #[test]
    fn sequence_numbers_are_ten_signed_digits() {
        assert_eq!(with_sequence("/a-", 7), "/a-0000000007");
        assert_eq!(with_sequence("/", i32::MAX), "/2147483647");
        assert_eq!(with_sequence("/", i32::MIN), "/-2147483648");
        assert_eq!(with_sequence("/", -1), "/-000000001");
    }
}
