//! Bytes of a znode, shared cheaply, and their two faces in JSON.
//!
//! A value is written as a string when it is UTF-8 without control characters, else as
//! `{"base64": "…"}`. Null is not a value: it is `None` one level up.

use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::Arc;

/// Bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(Arc<[u8]>);

impl Value {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text it is written as, if it can be.
    fn text(&self) -> Option<&str> {
        let text = std::str::from_utf8(&self.0).ok()?;
        (!text.chars().any(char::is_control)).then_some(text)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Value(bytes.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value(text.as_bytes().into())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Value(bytes.into())
    }
}

/// Most bytes of a value that a report shows.
const SHOWN_BYTES_MAX: usize = 40;

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.text() {
            Some(text) if text.len() <= SHOWN_BYTES_MAX => write!(f, "{text:?}"),
            Some(_) | None => {
                let shown = &self.0[..self.0.len().min(SHOWN_BYTES_MAX)];
                write!(f, "{} bytes \"{}…\"", self.0.len(), shown.escape_ascii())
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
                map.serialize_entry("base64", &encode_base64(&self.0))?;
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
