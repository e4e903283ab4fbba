//! Jute: the wire encoding of ZooKeeper's records, and nothing of what they mean.
//!
//! Big-endian integers, buffers and strings with an `i32` length (-1 is null, which is not
//! the same as empty), vectors with an `i32` count (-1 is null), records as the bare
//! concatenation of their fields.
//!
//! What always holds: [`Reader`] never panics, never reads past its slice and never
//! allocates by a length it was told; whatever is wrong with the bytes is a [`JuteError`].
//!
//! Answers to `org.apache.jute.BinaryOutputArchive` and `BinaryInputArchive`.

use bytes::{BufMut, Bytes, BytesMut};
use std::borrow::Cow;
use std::sync::Arc;

/// Elements a vector makes room for before it has seen them.
const VECTOR_RESERVE_MAX: usize = 128;

/// Room of a writer that was told nothing, bytes: most records fit, few leave much.
const WRITER_RESERVE: usize = 64;

/// Why bytes are not a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JuteError {
    /// The bytes end before the value does.
    #[error("{needed} bytes needed, {left} left")]
    Truncated {
        /// Bytes the value needs.
        needed: usize,
        /// Bytes there are.
        left: usize,
    },
    /// A length or count below -1.
    #[error("unreasonable length {0}")]
    BadLength(i32),
    /// A null string, buffer or vector where the record needs a value.
    #[error("null where a value is needed")]
    UnexpectedNull,
    /// A number that names nothing.
    #[error("{0} is not a {1}")]
    BadValue(i64, &'static str),
}

/// A record: its fields one after the other, no tags, no length.
pub trait Record: Sized {
    /// Appends the record.
    fn write(&self, out: &mut Writer);

    /// Takes the record from the front of what is left. Bytes behind it stay unread.
    fn read(from: &mut Reader<'_>) -> Result<Self, JuteError>;

    /// The record alone, as bytes.
    fn to_bytes(&self) -> Bytes {
        let mut out = Writer::new();
        self.write(&mut out);
        out.finish()
    }

    /// The record at the front of `bytes`; trailing bytes are ignored, as ZooKeeper does.
    fn from_slice(bytes: &[u8]) -> Result<Self, JuteError> {
        Self::read(&mut Reader::new(bytes))
    }
}

/// Appends values to a growing buffer.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    buf: BytesMut,
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Writer {
        Writer::with_capacity(WRITER_RESERVE)
    }

    /// An empty writer with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Writer {
        Writer {
            buf: BytesMut::with_capacity(capacity),
        }
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// True while nothing was written.
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// What was written.
    pub fn finish(self) -> Bytes {
        self.buf.freeze()
    }

    /// Takes away the first `n` bytes of what was written, or all of it when it is less.
    pub fn split_front(&mut self, n: usize) -> Bytes {
        let n = n.min(self.buf.len());
        self.buf.split_to(n).freeze()
    }

    /// One byte.
    pub fn byte(&mut self, v: u8) {
        self.buf.put_u8(v);
    }

    /// A boolean: one byte, 0 or 1.
    pub fn bool(&mut self, v: bool) {
        self.buf.put_u8(u8::from(v));
    }

    /// A 4-byte integer.
    pub fn int(&mut self, v: i32) {
        self.buf.put_i32(v);
    }

    /// An 8-byte integer.
    pub fn long(&mut self, v: i64) {
        self.buf.put_i64(v);
    }

    /// A buffer; `None` is null.
    pub fn buffer(&mut self, v: Option<&[u8]>) {
        match v {
            None => self.int(-1),
            Some(bytes) => {
                self.count(bytes.len());
                self.buf.put_slice(bytes);
            }
        }
    }

    /// A string that is not null.
    pub fn string(&mut self, v: &str) {
        self.buffer(Some(v.as_bytes()));
    }

    /// A string; `None` is null.
    pub fn opt_string(&mut self, v: Option<&str>) {
        self.buffer(v.map(str::as_bytes));
    }

    /// Bytes as they are, without a length.
    pub fn raw(&mut self, v: &[u8]) {
        self.buf.put_slice(v);
    }

    /// The count in front of a vector, or the length in front of a buffer.
    pub fn count(&mut self, n: usize) {
        let n = i32::try_from(n).expect("lengths on the wire are below 2^31");
        self.int(n);
    }

    /// A vector that is not null.
    pub fn vector<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Writer, &T)) {
        self.count(items.len());
        for item in items {
            write(self, item);
        }
    }

    /// A vector of records; `None` is null.
    pub fn records<T: Record>(&mut self, items: Option<&[T]>) {
        match items {
            None => self.int(-1),
            Some(items) => self.vector(items, |out, item| item.write(out)),
        }
    }

    /// A vector of strings.
    pub fn strings<S: AsRef<str>>(&mut self, items: &[S]) {
        self.vector(items, |out, s| out.string(s.as_ref()));
    }

    /// Writes a 4-byte length in front of what `body` writes.
    pub fn framed(&mut self, body: impl FnOnce(&mut Writer)) {
        let at = self.buf.len();
        self.int(0);
        body(self);
        let len = i32::try_from(self.buf.len() - at - 4).expect("frames are below 2^31");
        self.buf[at..at + 4].copy_from_slice(&len.to_be_bytes());
    }
}

/// Takes values from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the front of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// Bytes not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many bytes were not read yet.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next `n` bytes as they are.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], JuteError> {
        match self.rest.split_at_checked(n) {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(head)
            }
            None => Err(JuteError::Truncated {
                needed: n,
                left: self.rest.len(),
            }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], JuteError> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, JuteError> {
        Ok(self.array::<1>()?[0])
    }

    /// A boolean: anything but 0 is true.
    pub fn bool(&mut self) -> Result<bool, JuteError> {
        Ok(self.byte()? != 0)
    }

    /// A 4-byte integer.
    pub fn int(&mut self) -> Result<i32, JuteError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// An 8-byte integer.
    pub fn long(&mut self) -> Result<i64, JuteError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A length or count; `None` is null.
    pub fn count(&mut self) -> Result<Option<usize>, JuteError> {
        match self.int()? {
            -1 => Ok(None),
            n => match usize::try_from(n) {
                Ok(n) => Ok(Some(n)),
                Err(_) => Err(JuteError::BadLength(n)),
            },
        }
    }

    /// A buffer in place; `None` is null.
    pub fn slice(&mut self) -> Result<Option<&'a [u8]>, JuteError> {
        match self.count()? {
            None => Ok(None),
            Some(n) => self.take(n).map(Some),
        }
    }

    /// A buffer of its own, so that what is kept of a frame does not keep the frame.
    pub fn buffer(&mut self) -> Result<Option<Bytes>, JuteError> {
        Ok(self.slice()?.map(Bytes::copy_from_slice))
    }

    /// A string, malformed UTF-8 replaced by U+FFFD as Java does; `None` is null.
    pub fn opt_string(&mut self) -> Result<Option<Cow<'a, str>>, JuteError> {
        // What is well-formed is found out faster by a check than by a repair.
        Ok(self.slice()?.map(|bytes| match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => String::from_utf8_lossy(bytes),
        }))
    }

    /// A string that must not be null.
    pub fn string(&mut self) -> Result<Cow<'a, str>, JuteError> {
        self.opt_string()?.ok_or(JuteError::UnexpectedNull)
    }

    /// A string that must not be null, shared: the form paths are kept in.
    pub fn shared(&mut self) -> Result<Arc<str>, JuteError> {
        Ok(Arc::from(&*self.string()?))
    }

    /// A vector; `None` is null. A count beyond the bytes left fails before anything is read.
    pub fn vector<T>(
        &mut self,
        mut read: impl FnMut(&mut Reader<'a>) -> Result<T, JuteError>,
    ) -> Result<Option<Vec<T>>, JuteError> {
        let Some(n) = self.count()? else {
            return Ok(None);
        };
        if n > self.left() {
            // Every element takes at least one byte.
            return Err(JuteError::Truncated {
                needed: n,
                left: self.left(),
            });
        }
        let mut items = Vec::with_capacity(n.min(VECTOR_RESERVE_MAX));
        for _ in 0..n {
            items.push(read(self)?);
        }
        Ok(Some(items))
    }

    /// A vector of records; `None` is null.
    pub fn records<T: Record>(&mut self) -> Result<Option<Vec<T>>, JuteError> {
        self.vector(T::read)
    }

    /// A vector of strings, none of them null; `None` is null.
    pub fn strings(&mut self) -> Result<Option<Vec<Arc<str>>>, JuteError> {
        self.vector(|from| from.shared())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn null_and_empty_are_different() {
        let mut out = Writer::new();
        out.buffer(None);
        out.buffer(Some(b""));
        out.opt_string(None);
        out.string("");
        let bytes = out.finish();
        assert_eq!(bytes.len(), 16);
        let mut from = Reader::new(&bytes);
        assert_eq!(from.buffer().unwrap(), None);
        assert_eq!(from.buffer().unwrap(), Some(Bytes::new()));
        assert_eq!(from.opt_string().unwrap(), None);
        assert_eq!(from.string().unwrap(), "");
    }

    #[test]
    fn a_huge_count_fails_before_anything_is_read() {
        let bytes = [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        let mut reads = 0;
        let got = Reader::new(&bytes).vector(|from| {
            reads += 1;
            from.byte()
        });
        assert!(matches!(got, Err(JuteError::Truncated { .. })));
        assert_eq!(reads, 0);
    }

    #[test]
    fn lengths_below_minus_one_are_refused() {
        let bytes = (-2i32).to_be_bytes();
        assert_eq!(Reader::new(&bytes).slice(), Err(JuteError::BadLength(-2)));
        assert_eq!(Reader::new(&bytes).strings(), Err(JuteError::BadLength(-2)));
    }

    #[test]
    fn malformed_utf8_becomes_the_replacement_character() {
        let bytes = [0, 0, 0, 3, b'/', 0xff, b'a'];
        assert_eq!(Reader::new(&bytes).string().unwrap(), "/\u{fffd}a");
    }

    #[test]
    fn any_non_zero_byte_is_true() {
        assert_eq!(Reader::new(&[7]).bool(), Ok(true));
        assert_eq!(Reader::new(&[0]).bool(), Ok(false));
    }

    #[test]
    fn framed_counts_only_its_body() {
        let mut out = Writer::new();
        out.byte(9);
        out.framed(|out| out.long(1));
        assert_eq!(&out.finish()[..5], &[9, 0, 0, 0, 8]);
    }

    proptest! {
        #[test]
        fn values_come_back_as_written(
            a: u8, b: bool, c: i32, d: i64,
            e: Option<Vec<u8>>, f: Option<String>, g: Vec<String>,
        ) {
            let mut out = Writer::new();
            out.byte(a);
            out.bool(b);
            out.int(c);
            out.long(d);
            out.buffer(e.as_deref());
            out.opt_string(f.as_deref());
            out.strings(&g);
            let bytes = out.finish();
            let mut from = Reader::new(&bytes);
            prop_assert_eq!(from.byte().unwrap(), a);
            prop_assert_eq!(from.bool().unwrap(), b);
            prop_assert_eq!(from.int().unwrap(), c);
            prop_assert_eq!(from.long().unwrap(), d);
            prop_assert_eq!(from.buffer().unwrap().map(|x| x.to_vec()), e);
            prop_assert_eq!(from.opt_string().unwrap().map(Cow::into_owned), f);
            let names = from.strings().unwrap().unwrap();
            prop_assert!(names.iter().map(|s| &**s).eq(g.iter().map(|s| &**s)));
            prop_assert_eq!(from.left(), 0);
        }

        #[test]
        fn hostile_bytes_are_an_error_or_a_value_never_a_panic(bytes: Vec<u8>) {
            let mut from = Reader::new(&bytes);
            let _ = from.strings();
            let _ = from.buffer();
            let _ = from.opt_string();
            let _ = from.long();
        }
    }
}
