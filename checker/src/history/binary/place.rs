//! Where what was read belongs.
//!
//! A record is as long as a few lines of the cache, and to build one somewhere and then carry it to
//! its lot costs more than to read it. So whoever has read the last piece of it says what it is, and
//! it is written where it stays. What always holds: a record that was not read to its end stays
//! blank, and its reader takes it away again.

use super::NULL;
use crate::history::value::{SHORT_BYTES_MAX, Window};
use crate::history::{Answer, Body, Op, Record, SubAnswer, Value};

/// A record that is still to be read.
pub fn blank() -> Record {
    Record {
        process: 0,
        time: 0,
        server: None,
        body: Body::Final,
    }
}

/// Says what was observed in a record that is blank.
#[inline(always)]
pub fn fill(blank: &mut Record, body: Body) {
    // That there is nothing in it to be dropped only we know.
    std::mem::forget(std::mem::replace(&mut blank.body, body));
}

/// Where something that was read belongs. Records are large, and what is in them is handed over
/// where it is made, so that it is made in its place and not carried there.
pub trait Put<T> {
    /// Whether that is a part of a multi.
    const INSIDE_MULTI: bool;

    /// Puts it there.
    fn put(self, made: T);

    /// As [`Put::put`], for what holds a value: a short one is made in its place too.
    #[inline(always)]
    fn put_with(self, value: Span<'_>, make: impl FnOnce(Option<Value>) -> T)
    where
        Self: Sized,
    {
        match value.short() {
            Some((window, length)) => self.put(make(Some(Value::short(window, length)))),
            None => self.put(make(value.value())),
        }
    }
}

/// Bytes of a value, and what follows; null has the length [`NULL`].
#[derive(Clone, Copy)]
pub struct Span<'b> {
    pub bytes: &'b [u8],
    pub length: u32,
}

impl<'b> Span<'b> {
    /// Its length, if it is short and there is a window on it.
    #[inline(always)]
    fn short(self) -> Option<(&'b Window, u8)> {
        let length = u8::try_from(self.length).ok()?;
        let window = self.bytes.first_chunk()?;
        (usize::from(length) <= SHORT_BYTES_MAX).then_some((window, length))
    }

    /// The value, whatever its length.
    pub fn value(self) -> Option<Value> {
        (self.length != NULL).then(|| Value::from(&self.bytes[..self.length as usize]))
    }
}

/// A question all of which is known but what it asks.
pub struct Asking<'r> {
    pub blank: &'r mut Record,
    pub session: i64,
    pub xid: i32,
}

impl Put<Op> for Asking<'_> {
    const INSIDE_MULTI: bool = false;

    #[inline(always)]
    fn put(self, op: Op) {
        let (session, xid) = (self.session, self.xid);
        fill(self.blank, Body::Invoke { session, xid, op });
    }
}

/// An answer all of which is known but what it says.
pub struct Answering<'r> {
    pub blank: &'r mut Record,
    pub xid: i32,
    pub zxid: i64,
}

impl Put<Answer> for Answering<'_> {
    const INSIDE_MULTI: bool = false;

    #[inline(always)]
    fn put(self, answer: Answer) {
        let (xid, zxid, result) = (self.xid, self.zxid, Ok(answer));
        fill(self.blank, Body::Return { xid, zxid, result });
    }
}

impl Put<Op> for &mut Vec<Op> {
    const INSIDE_MULTI: bool = true;

    #[inline(always)]
    fn put(self, op: Op) {
        self.push(op);
    }
}

impl Put<Answer> for &mut Vec<SubAnswer> {
    const INSIDE_MULTI: bool = true;

    #[inline(always)]
    fn put(self, answer: Answer) {
        self.push(Ok(answer));
    }
}
