//! Bytes of a znode, shared cheaply, and their two faces in JSON.
//!
//! Short ones, which most are, lie in the value itself: a history of a million sets does not
//! allocate a million times. Equal bytes are always kept the same way.
//!
//! A value is written as a string when it is UTF-8 without control characters, else as
//! `{"base64": "…"}`. Null is not a value: it is `None` one level up.

use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Most bytes that lie in the value itself.
pub(super) const SHORT_BYTES_MAX: usize = 22;

/// So many bytes that a short value may begin them.
pub(super) type Window = [u8; SHORT_BYTES_MAX];

/// Bytes.
#[derive(Clone)]
pub struct Value(Kept);

#[derive(Clone)]
enum Kept {
    /// So many of these; the others are zero.
    Short(u8, [u8; SHORT_BYTES_MAX]),
    /// More than [`SHORT_BYTES_MAX`].
    Long(Arc<[u8]>),
}

impl Value {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.0 {
            Kept::Short(length, bytes) => &bytes[..usize::from(*length)],
            Kept::Long(bytes) => bytes,
        }
    }

    /// The first bytes that a window shows, [`SHORT_BYTES_MAX`] at most. Nothing hangs on how
    /// many they are, so that this is quick.
    #[inline(always)]
    pub(super) fn short(window: &Window, length: u8) -> Self {
        let mut short = [0; SHORT_BYTES_MAX];
        for (at, place) in short.iter_mut().enumerate() {
            *place = if at < usize::from(length) {
                window[at]
            } else {
                0
            };
        }
        Value(Kept::Short(length, short))
    }

    /// The text it is written as, if it can be.
    fn text(&self) -> Option<&str> {
        let text = std::str::from_utf8(self.bytes()).ok()?;
        (!text.chars().any(char::is_control)).then_some(text)
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Kept::Short(length, bytes), Kept::Short(other_length, other)) => {
                length == other_length && bytes == other
            }
            (Kept::Long(bytes), Kept::Long(other)) => bytes == other,
            (Kept::Short(..), Kept::Long(_)) | (Kept::Long(_), Kept::Short(..)) => false,
        }
    }
}

impl Eq for Value {}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes().hash(state);
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        let mut short = [0; SHORT_BYTES_MAX];
        Value(match short.get_mut(..bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                Kept::Short(bytes.len() as u8, short)
            }
            None => Kept::Long(bytes.into()),
        })
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::from(text.as_bytes())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Value::from(&bytes[..])
    }
}

/// Most bytes of a value that a report shows.
const SHOWN_BYTES_MAX: usize = 40;

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.text() {
            Some(text) if text.len() <= SHOWN_BYTES_MAX => write!(f, "{text:?}"),
            Some(_) | None => {
                let bytes = self.bytes();
                let shown = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
                write!(f, "{} bytes \"{}…\"", bytes.len(), shown.escape_ascii())
            }
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.text() {
            Some(text) => serializer.serialize_str(text),
            None => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("base64", &encode_base64(self.bytes()))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;
        impl<'de> Visitor<'de> for ValueVisitor {
            type Value = Value;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string or {\"base64\": …}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value::from(text))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                match map.next_entry::<String, String>()? {
                    Some((key, text)) if key == "base64" => decode_base64(&text)
                        .map(Value::from)
                        .ok_or_else(|| de::Error::custom("not base64")),
                    Some((key, _)) => Err(de::Error::unknown_field(&key, &["base64"])),
                    None => Err(de::Error::missing_field("base64")),
                }
            }
        }
        deserializer.deserialize_any(ValueVisitor)
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Standard base64 with padding.
pub(super) fn encode_base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().enumerate().fold(0u32, |word, (i, &byte)| {
            word | u32::from(byte) << (16 - 8 * i)
        });
        for i in 0..4 {
            let sextet = (word >> (18 - 6 * i)) & 63;
            text.push(if i <= chunk.len() {
                ALPHABET[sextet as usize] as char
            } else {
                '='
            });
        }
    }
    text
}

/// The bytes of standard base64 with padding; None if it is not that.
pub(super) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let body = text
        .strip_suffix("==")
        .or(text.strip_suffix('='))
        .unwrap_or(text);
    let (mut bytes, mut word, mut bits) = (Vec::with_capacity(text.len() / 4 * 3), 0u32, 0u32);
    for byte in body.bytes() {
        let sextet = ALPHABET.iter().position(|&letter| letter == byte)? as u32;
        word = (word << 6 | sextet) & 0xff_ffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_answers_the_published_vectors_both_ways() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode_base64(bytes.as_bytes()), text);
            assert_eq!(decode_base64(text).unwrap(), bytes.as_bytes());
        }
        assert_eq!(decode_base64("Zg="), None);
        assert_eq!(decode_base64("Z*=="), None);
    }

    #[test]
    fn short_and_long_values_are_equal_ordered_and_hashed_by_their_bytes() {
        let bytes: Vec<u8> = (0..40).collect();
        let hash = |value: &Value| {
            let mut hasher = std::hash::DefaultHasher::new();
            value.hash(&mut hasher);
            hasher.finish()
        };
        for left in 0..bytes.len() {
            for right in 0..bytes.len() {
                let values = [left, right].map(|length| Value::from(&bytes[..length]));
                assert_eq!(values[0].bytes(), &bytes[..left]);
                assert_eq!(values[0] == values[1], left == right);
                assert_eq!(values[0].cmp(&values[1]), left.cmp(&right));
                assert_eq!(hash(&values[0]) == hash(&values[1]), left == right);
            }
        }
        assert_ne!(Value::from("a"), Value::from("a\0"));
    }

    #[test]
    fn every_byte_string_survives_json() {
        for bytes in [
            &b""[..],
            b"x",
            b"\x00\xff",
            "grün".as_bytes(),
            b"a\nb",
            &[0x80; 100],
        ] {
            let value = Value::from(bytes);
            let text = serde_json::to_string(&value).unwrap();
            assert_eq!(
                serde_json::from_str::<Value>(&text).unwrap(),
                value,
                "{text}"
            );
        }
    }
}
