//! The usual line of others, read by hand.
//!
//! Nearly every line is one flat object with keys we know, short strings without escapes,
//! and whole numbers. Such lines are taken apart here, several times faster than by the
//! general parser. This one never refuses: whatever is not plainly of that shape (an
//! escape, a key it does not know, a list of objects, a number that does not fit, a mistake) is
//! left to the general parser, which reads it or names what is wrong. What always holds: where this one
//! reads a line, the other reads the same.

use super::{Line, Text};
use crate::history::{Stat, Value};
use std::borrow::Cow;

/// Takes a usual line apart; None if it is none.
pub fn line(text: &str) -> Option<Line<'_>> {
    let mut scanner = Scanner::new(text);
    let mut line = Line::default();
    scanner.object(|scanner, key| scanner.field(key, &mut line))?;
    scanner.is_at_end().then_some(line)
}

/// A line and how much of it has been read. What is refused is left at no particular place.
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

/// Most digits of a number of 64 bits that need no look at whether they fit.
const DIGITS_MAX: usize = 19;

/// Sets what must not have been set before.
fn once<T>(slot: &mut Option<T>, value: Option<T>) -> Option<()> {
    match slot {
        Some(_) => None,
        None => {
            *slot = Some(value?);
            Some(())
        }
    }
}

impl<'a> Scanner<'a> {
    /// At the beginning of a line.
    pub fn new(text: &'a str) -> Self {
        Scanner { text, at: 0 }
    }

    /// True if everything was read.
    pub fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// Reads exactly these bytes, if they are next.
    pub fn eat<const N: usize>(&mut self, wanted: &[u8; N]) -> bool {
        let found = self.rest().first_chunk() == Some(wanted);
        self.at += if found { N } else { 0 };
        found
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is no space, taken.
    fn token(&mut self) -> Option<u8> {
        loop {
            let byte = self.byte()?;
            self.at += 1;
            if byte != b' ' {
                return Some(byte);
            }
        }
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        (self.token()? == wanted).then_some(())
    }

    /// An object with at least one key.
    fn object(&mut self, mut field: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        loop {
            let key = self.string()?;
            self.expect(b':')?;
            field(self, key)?;
            match self.token()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    fn field(&mut self, key: &str, line: &mut Line<'a>) -> Option<()> {
        match key {
            "type" => once(&mut line.r#type, self.text()),
            "process" => once(&mut line.process, self.narrow()),
            "time" => once(&mut line.time, self.unsigned()),
            "server" => once(&mut line.server, self.narrow()),
            "session" => once(&mut line.session, self.text()),
            "xid" => once(&mut line.xid, self.narrow_signed()),
            "zxid" => once(&mut line.zxid, self.signed()),
            "f" => once(&mut line.f, self.text()),
            "answer" => once(&mut line.answer, self.text()),
            "error" => once(&mut line.error, self.text()),
            "event" => once(&mut line.event, self.text()),
            "path" => once(&mut line.path, self.text()),
            "value" => once(&mut line.value, self.string().map(Value::from)),
            "version" => once(&mut line.version, self.narrow_signed()),
            "watch" => once(&mut line.watch, self.flag()),
            "mode" => once(&mut line.mode, self.text()),
            "watches" => once(&mut line.watches, self.text()),
            "ephemeral" => once(&mut line.ephemeral, self.flag()),
            "sequential" => once(&mut line.sequential, self.flag()),
            "container" => once(&mut line.container, self.flag()),
            "ttl_ms" => once(&mut line.ttl_ms, self.unsigned()),
            "stat" => once(&mut line.stat, self.stat()),
            "names" => once(&mut line.names, self.texts()),
            "sent" => once(&mut line.sent, self.unsigned()),
            "last_zxid" => once(&mut line.last_zxid, self.signed()),
            _ => None,
        }
    }

    /// A string without escapes.
    fn string(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        self.rest_of_string()
    }

    /// A string without escapes, after its opening quote.
    pub fn rest_of_string(&mut self) -> Option<&'a str> {
        let start = self.at;
        let length = plain_length(self.rest());
        self.at = start + length + 1;
        match self.text.as_bytes().get(start + length) {
            Some(b'"') => self.text.get(start..start + length),
            Some(_) | None => None,
        }
    }

    fn text(&mut self) -> Option<Text<'a>> {
        self.string().map(|text| Text(Cow::Borrowed(text)))
    }

    fn texts(&mut self) -> Option<Vec<Text<'a>>> {
        self.expect(b'[')?;
        let mut texts = Vec::new();
        if self.byte()? == b']' {
            self.at += 1;
            return Some(texts);
        }
        loop {
            texts.push(self.text()?);
            match self.token()? {
                b',' => {}
                b']' => return Some(texts),
                _ => return None,
            }
        }
    }

    fn skip_spaces(&mut self) {
        while self.byte() == Some(b' ') {
            self.at += 1;
        }
    }

    /// A number that is not negative.
    pub fn unsigned(&mut self) -> Option<u64> {
        self.skip_spaces();
        let digits = self.rest();
        let (mut number, mut length) = (0u64, 0);
        while let Some(digit) = digits.get(length).map(|byte| byte.wrapping_sub(b'0'))
            && digit < 10
        {
            number = number.wrapping_mul(10).wrapping_add(digit.into());
            length += 1;
        }
        let zeroes_first = length > 1 && digits[0] == b'0';
        let goes_on = matches!(digits.get(length), Some(b'.' | b'e' | b'E'));
        self.at += length;
        let plain = (1..=DIGITS_MAX).contains(&length) && !zeroes_first && !goes_on;
        plain.then_some(number)
    }

    /// A number; minus zero is none.
    pub fn signed(&mut self) -> Option<i64> {
        self.skip_spaces();
        match self.byte()? {
            b'-' => {
                self.at += 1;
                // "- 1" is no number.
                self.byte().filter(|digit| (b'1'..=b'9').contains(digit))?;
                0i64.checked_sub_unsigned(self.unsigned()?)
            }
            _ => self.unsigned()?.try_into().ok(),
        }
    }

    /// A number of 32 bits that is not negative.
    pub fn narrow(&mut self) -> Option<u32> {
        self.unsigned()?.try_into().ok()
    }

    /// A number of 32 bits.
    pub fn narrow_signed(&mut self) -> Option<i32> {
        self.signed()?.try_into().ok()
    }

    /// A number of 64 bits in digits of 4.
    pub fn hexadecimal(&mut self) -> Option<u64> {
        let (mut number, mut length) = (0u64, 0);
        for &byte in self.rest() {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                _ => break,
            };
            number = number << 4 | u64::from(digit);
            length += 1;
        }
        self.at += length;
        (1..=16).contains(&length).then_some(number)
    }

    fn flag(&mut self) -> Option<bool> {
        self.skip_spaces();
        match (self.eat(b"true"), self.eat(b"false")) {
            (true, false) => Some(true),
            (false, true) => Some(false),
            (_, _) => None,
        }
    }

    /// A Stat, which has all of its fields.
    fn stat(&mut self) -> Option<Stat> {
        let (mut stat, mut seen) = (Stat::default(), 0u32);
        self.object(|scanner, key| {
            let field = match key {
                "czxid" => {
                    stat.czxid = scanner.signed()?;
                    0
                }
                "mzxid" => {
                    stat.mzxid = scanner.signed()?;
                    1
                }
                "ctime" => {
                    stat.ctime = scanner.signed()?;
                    2
                }
                "mtime" => {
                    stat.mtime = scanner.signed()?;
                    3
                }
                "version" => {
                    stat.version = scanner.narrow_signed()?;
                    4
                }
                "cversion" => {
                    stat.cversion = scanner.narrow_signed()?;
                    5
                }
                "aversion" => {
                    stat.aversion = scanner.narrow_signed()?;
                    6
                }
                "ephemeral_owner" => {
                    stat.ephemeral_owner = scanner.signed()?;
                    7
                }
                "data_length" => {
                    stat.data_length = scanner.narrow_signed()?;
                    8
                }
                "num_children" => {
                    stat.num_children = scanner.narrow_signed()?;
                    9
                }
                "pzxid" => {
                    stat.pzxid = scanner.signed()?;
                    10
                }
                _ => return None,
            };
            let fresh = seen >> field & 1 == 0;
            seen |= 1 << field;
            fresh.then_some(())
        })?;
        (seen == (1 << 11) - 1).then_some(stat)
    }
}

/// How many bytes come before the first quote, backslash or control character: eight at a
/// time, by the well known way of finding a byte in a word.
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let holds_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let mut length = 0;
    while let Some(chunk) = bytes.get(length..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*chunk);
        let quotes = holds_zero(word ^ (ONES * u64::from(b'"')));
        let escapes = holds_zero(word ^ (ONES * u64::from(b'\\')));
        let controls = word.wrapping_sub(ONES * u64::from(b' ')) & !word & HIGH;
        // Above the lowest hit there may be false ones, below it none.
        let hits = quotes | escapes | controls;
        if hits != 0 {
            return length + hits.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let rest = &bytes[length..];
    let special = |&byte: &u8| byte == b'"' || byte == b'\\' || byte < b' ';
    length + rest.iter().position(special).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_end_where_the_first_special_byte_is() {
        for special in [b'"', b'\\', b'\n', 0, 31] {
            for length in 0..40 {
                for plain in [b' ', b'!', b'#', b'[', b']', 0x7f, 0xc3] {
                    let mut bytes = vec![plain; length];
                    assert_eq!(plain_length(&bytes), length);
                    bytes.extend([special, plain, b'"', plain]);
                    assert_eq!(plain_length(&bytes), length, "{special} {plain}");
                }
            }
        }
    }

    #[test]
    fn usual_lines_are_read_and_others_left_to_the_general_parser() {
        for text in [
            r#"{"type":"invoke","process":1,"time":5,"xid":-2,"f":"get","path":"/a","watch":true}"#,
            r#"{ "type": "ok", "zxid": 12, "names": ["a", "b"], "value": "grün" }"#,
            r#"{"names":[]}"#,
        ] {
            assert!(line(text).is_some(), "{text}");
            assert!(serde_json::from_str::<Line<'_>>(text).is_ok(), "{text}");
        }
        for text in [
            "{}",
            "",
            "[1]",
            r#"{"xid":01}"#,
            r#"{"xid":1.5}"#,
            r#"{"xid":1e3}"#,
            r#"{"xid":2147483648}"#,
            r#"{"time":18446744073709551616}"#,
            r#"{"time":-1}"#,
            r#"{"xid":- 1}"#,
            r#"{"xid":-0}"#,
            r#"{"watch":truefalse}"#,
            r#"{"path":"a\n"}"#,
            r#"{"path":"a"} x"#,
            r#"{"path":"a","path":"b"}"#,
            r#"{"path":"a",}"#,
            r#"{"path":"a""#,
            r#"{"stat":{"czxid":1}}"#,
            r#"{"mine":1}"#,
            r#"{"value":null}"#,
        ] {
            assert!(line(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_line_cut_anywhere_is_not_read() {
        let text = r#"{"type":"ok","process":0,"time":1,"xid":1,"zxid":4294967302,"answer":"stat","stat":{"czxid":1,"mzxid":2,"ctime":3,"mtime":4,"version":5,"cversion":6,"aversion":7,"ephemeral_owner":8,"data_length":9,"num_children":10,"pzxid":11}}"#;
        assert_eq!(line(text).unwrap().stat.unwrap().pzxid, 11);
        for end in 0..text.len() {
            assert!(line(&text[..end]).is_none(), "{end}");
        }
    }
}
