//! multi: several writes in one request, all or none, and their results.
//!
//! A malformed operation fails the whole request; what the operations then meet in the tree
//! is reported one by one ([`MultiResult`]).
//!
//! Answers to `MultiOperationRecord`, `MultiResponse` and `MultiHeader`.

use super::code::{ErrorCode, OpCode};
use super::record::Stat;
use super::request::{
    CheckRequest, CreateOp, CreateRequest, DecodeError, DeleteRequest, SetDataRequest,
};
use crate::jute::{JuteError, Reader, Record, Writer};
use std::sync::Arc;

/// The type in the header that ends a list.
const END: i32 = -1;

/// One operation of a multi.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MultiOp {
    /// create, create2; its flags are 0 to 3 and its ACL is not null.
    Create(CreateRequest),
    /// delete.
    Delete(DeleteRequest),
    /// setData.
    SetData(SetDataRequest),
    /// check.
    Check(CheckRequest),
}

impl MultiOp {
    /// Its operation code.
    pub fn op(&self) -> OpCode {
        match self {
            MultiOp::Create(create) => create.op.op(),
            MultiOp::Delete(_) => OpCode::Delete,
            MultiOp::SetData(_) => OpCode::SetData,
            MultiOp::Check(_) => OpCode::Check,
        }
    }

    /// The node it is about.
    pub fn path(&self) -> &Arc<str> {
        match self {
            MultiOp::Create(r) => &r.path,
            MultiOp::Delete(r) => &r.path,
            MultiOp::SetData(r) => &r.path,
            MultiOp::Check(r) => &r.path,
        }
    }
}

/// The result of one operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MultiResult {
    /// create: the path with its sequence number.
    Create {
        /// Where the node is.
        path: Arc<str>,
    },
    /// create2: path and stat.
    Create2 {
        /// Where the node is.
        path: Arc<str>,
        /// Its stat.
        stat: Stat,
    },
    /// delete.
    Delete,
    /// setData.
    SetData {
        /// The stat after it.
        stat: Stat,
    },
    /// check.
    Check,
    /// The multi failed. `err` is 0 for the operations before the one that failed, its own
    /// code for that, and [`ErrorCode::RuntimeInconsistency`] for those after it.
    Error {
        /// The code, as on the wire.
        err: i32,
    },
}

struct MultiHeader {
    op: i32,
    done: bool,
    err: i32,
}

impl Record for MultiHeader {
    fn write(&self, out: &mut Writer) {
        out.int(self.op);
        out.bool(self.done);
        out.int(self.err);
    }

    fn read(from: &mut Reader<'_>) -> Result<MultiHeader, JuteError> {
        Ok(MultiHeader {
            op: from.int()?,
            done: from.bool()?,
            err: from.int()?,
        })
    }
}

fn header(op: i32, done: bool, err: i32, out: &mut Writer) {
    MultiHeader { op, done, err }.write(out);
}

pub(super) fn write_ops(ops: &[MultiOp], out: &mut Writer) {
    for op in ops {
        header(op.op().to_wire(), false, -1, out);
        match op {
            MultiOp::Create(r) => r.write(out),
            MultiOp::Delete(r) => r.write(out),
            MultiOp::SetData(r) => r.write(out),
            MultiOp::Check(r) => r.write(out),
        }
    }
    header(END, true, -1, out);
}

pub(super) fn read_ops(from: &mut Reader<'_>) -> Result<Vec<MultiOp>, DecodeError> {
    let mut ops = Vec::new();
    loop {
        let head = MultiHeader::read(from)?;
        if head.done {
            return Ok(ops);
        }
        ops.push(read_op(head.op, from)?);
    }
}

fn read_op(op: i32, from: &mut Reader<'_>) -> Result<MultiOp, DecodeError> {
    match OpCode::from_wire(op) {
        Some(OpCode::Create) => read_create(CreateOp::Create, from),
        Some(OpCode::Create2) => read_create(CreateOp::Create2, from),
        Some(OpCode::Delete) => Ok(MultiOp::Delete(Record::read(from)?)),
        Some(OpCode::SetData) => Ok(MultiOp::SetData(Record::read(from)?)),
        Some(OpCode::Check) => Ok(MultiOp::Check(Record::read(from)?)),
        // Legal in ZooKeeper's multi, not here yet.
        Some(OpCode::CreateContainer | OpCode::CreateTtl) => Err(DecodeError::Unimplemented(op)),
        // Reads belong into multiRead; the rest never into either.
        _ => Err(JuteError::BadValue(i64::from(op), "operation of a multi").into()),
    }
}

fn read_create(op: CreateOp, from: &mut Reader<'_>) -> Result<MultiOp, DecodeError> {
    let create = CreateRequest::read(op, from)?;
    create.check_in_multi()?;
    Ok(MultiOp::Create(create))
}

pub(super) fn write_results(results: &[MultiResult], out: &mut Writer) {
    for result in results {
        match result {
            MultiResult::Create { path } => {
                header(OpCode::Create.to_wire(), false, 0, out);
                out.string(path);
            }
            MultiResult::Create2 { path, stat } => {
                header(OpCode::Create2.to_wire(), false, 0, out);
                out.string(path);
                stat.write(out);
            }
            MultiResult::Delete => header(OpCode::Delete.to_wire(), false, 0, out),
            MultiResult::SetData { stat } => {
                header(OpCode::SetData.to_wire(), false, 0, out);
                stat.write(out);
            }
            MultiResult::Check => header(OpCode::Check.to_wire(), false, 0, out),
            MultiResult::Error { err } => {
                header(OpCode::Error.to_wire(), false, *err, out);
                out.int(*err);
            }
        }
    }
    header(END, true, -1, out);
}

pub(super) fn read_results(from: &mut Reader<'_>) -> Result<Vec<MultiResult>, JuteError> {
    let mut results = Vec::new();
    loop {
        let head = MultiHeader::read(from)?;
        if head.done {
            return Ok(results);
        }
        results.push(match OpCode::from_wire(head.op) {
            Some(OpCode::Create) => MultiResult::Create {
                path: from.shared()?,
            },
            Some(OpCode::Create2) => MultiResult::Create2 {
                path: from.shared()?,
                stat: Stat::read(from)?,
            },
            Some(OpCode::Delete) => MultiResult::Delete,
            Some(OpCode::SetData) => MultiResult::SetData {
                stat: Stat::read(from)?,
            },
            Some(OpCode::Check) => MultiResult::Check,
            Some(OpCode::Error) => MultiResult::Error { err: from.int()? },
            _ => return Err(JuteError::BadValue(i64::from(head.op), "result of a multi")),
        });
    }
}

/// The results of a multi of `len` operations whose `failed`-th failed with `code`.
pub fn failed_results(len: usize, failed: usize, code: ErrorCode) -> Vec<MultiResult> {
    (0..len)
        .map(|i| MultiResult::Error {
            err: match i.cmp(&failed) {
                std::cmp::Ordering::Less => ErrorCode::Ok.to_wire(),
                std::cmp::Ordering::Equal => code.to_wire(),
                std::cmp::Ordering::Greater => ErrorCode::RuntimeInconsistency.to_wire(),
            },
        })
        .collect()
}
