//! Registers as tab-separated lines, so that any script can feed the judge.
//!
//! The first line begins with `#`. Then one operation a line, nine fields:
//!
//! | field | what it is |
//! |---|---|
//! | client | a number |
//! | call | nanoseconds |
//! | return | nanoseconds; -1: its outcome was never learned |
//! | f | `r` read, `w` write, `c` compare-and-set |
//! | key | any text |
//! | arg1 | `w`: what is written; `c`: what must be there |
//! | arg2 | `c`: what is put there |
//! | out | `r`: what was read; `c`: 1 swapped, 0 refused |
//! | zxid | of the answer; -1: never learned |
//!
//! `-` is nil. Every key starts nil; intervals are closed. A value is any text: `1` and `01`
//! are two values.
//!
//! Answers to: issue "The judge", *Formats*.

use super::{FormatError, quoted};
use crate::explain::operations::Case;
use crate::linear::generate::Row;
use crate::linear::models::{Keyed, NIL, Register, RegisterOp, RegisterOutcome, Symbol, Symbols};
use crate::linear::{Operation, OperationOf};
use std::io::{self, Write};

/// Names of the fields, in order.
const FIELDS: [&str; 9] = [
    "client", "call", "return", "f", "key", "arg1", "arg2", "out", "zxid",
];

/// A history of registers, as read.
#[derive(Debug, Clone, Default)]
pub struct Registers {
    /// The operations, in the file's order.
    pub history: Vec<Operation<(Symbol, RegisterOp), RegisterOutcome>>,
    /// Per operation: the zxid of its answer.
    pub zxids: Vec<Option<i64>>,
    /// Per operation: its line, from 1.
    pub lines: Vec<u32>,
    /// Names of keys and values.
    pub symbols: Symbols,
}

/// Reads a whole file.
///
/// # Errors
/// The first line and field that is not as it should be.
pub fn read(bytes: &[u8]) -> Result<Registers, FormatError> {
    let mut registers = Registers::default();
    let mut lines = bytes.split(|byte| *byte == b'\n').enumerate();
    match lines.next() {
        Some((_, first)) if first.starts_with(b"#") => {}
        _ => return Err(FormatError::new(1, "first line", "must begin with `#`")),
    }
    for (number, line) in lines {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let fields = split(line, number + 1)?;
        let row = Line {
            line: number + 1,
            fields,
        };
        let (operation, zxid) = row.operation(&mut registers.symbols)?;
        registers.history.push(operation);
        registers.zxids.push(zxid);
        registers
            .lines
            .push(u32::try_from(number + 1).unwrap_or(u32::MAX));
    }
    Ok(registers)
}

fn split(line: &[u8], number: usize) -> Result<[&[u8]; 9], FormatError> {
    let mut fields: [&[u8]; 9] = [b""; 9];
    let mut count = 0;
    for field in line.split(|byte| *byte == b'\t') {
        if count < 9 {
            fields[count] = field;
        }
        count += 1;
    }
    match count {
        9 => Ok(fields),
        0..9 => Err(FormatError::new(
            number,
            format!("field {}", FIELDS[count]),
            format!("missing: {count} tab-separated fields where nine belong"),
        )),
        _ => Err(FormatError::new(
            number,
            "after field zxid",
            format!("{count} fields where nine belong"),
        )),
    }
}

/// One line, cut.
struct Line<'a> {
    line: usize,
    fields: [&'a [u8]; 9],
}

impl Line<'_> {
    #[allow(clippy::type_complexity)]
    fn operation(
        &self,
        symbols: &mut Symbols,
    ) -> Result<
        (
            Operation<(Symbol, RegisterOp), RegisterOutcome>,
            Option<i64>,
        ),
        FormatError,
    > {
        let client = self.number(0, 0, i64::from(u32::MAX), "a number from 0 to 2^32 - 1")? as u32;
        let call = self.number(1, 0, i64::MAX, "nanoseconds, 0 or more")?;
        let ret = self.number(2, -1, i64::MAX, "nanoseconds, or -1 for never")?;
        let ret = (ret >= 0).then_some(ret);
        if ret.is_some_and(|ret| ret < call) {
            return Err(self.error(2, "before the call"));
        }
        let key = match self.fields[4] {
            b"" => return Err(self.error(4, "must not be empty")),
            key => symbols.number(text(key).ok_or_else(|| self.error(4, "is no UTF-8"))?),
        };
        let zxid = self.number(8, -1, i64::MAX, "a zxid, or -1 for never learned")?;
        let (op, outcome) = match self.fields[3] {
            b"r" => (
                RegisterOp::Read,
                RegisterOutcome::Value(self.value(7, symbols)?),
            ),
            b"w" => (
                RegisterOp::Write(self.value(5, symbols)?),
                RegisterOutcome::Done,
            ),
            b"c" => {
                let op = RegisterOp::Cas(self.value(5, symbols)?, self.value(6, symbols)?);
                (
                    op,
                    RegisterOutcome::Swapped(ret.is_some() && self.swapped()?),
                )
            }
            _ => return Err(self.error(3, "is none of r, w, c")),
        };
        let outcome = ret.map(|_| outcome);
        let zxid = (zxid >= 0).then_some(zxid);
        Ok((
            Operation {
                client,
                call,
                ret,
                op: (key, op),
                outcome,
            },
            zxid,
        ))
    }

    fn swapped(&self) -> Result<bool, FormatError> {
        match self.fields[7] {
            b"1" => Ok(true),
            b"0" => Ok(false),
            _ => Err(self.error(7, "of a compare-and-set is 1 (swapped) or 0 (refused)")),
        }
    }

    fn value(&self, field: usize, symbols: &mut Symbols) -> Result<Symbol, FormatError> {
        match self.fields[field] {
            b"-" => Ok(NIL),
            b"" => Err(self.error(field, "must not be empty (`-` is nil)")),
            value => {
                Ok(symbols.number(text(value).ok_or_else(|| self.error(field, "is no UTF-8"))?))
            }
        }
    }

    fn number(&self, field: usize, min: i64, max: i64, what: &str) -> Result<i64, FormatError> {
        let number = text(self.fields[field]).and_then(|digits| digits.parse::<i64>().ok());
        match number {
            Some(number) if (min..=max).contains(&number) => Ok(number),
            Some(_) | None => Err(self.error(field, &format!("is not {what}"))),
        }
    }

    fn error(&self, field: usize, reason: &str) -> FormatError {
        let field_name = format!("field {}", FIELDS[field]);
        FormatError::new(
            self.line,
            field_name,
            format!("{} {reason}", quoted(self.fields[field])),
        )
    }
}

impl Registers {
    /// Drawn rows as a history of one key, values shown by their own numbers.
    pub fn drawn(rows: Vec<Row>) -> Registers {
        let mut registers = Registers::default();
        let key = registers.symbols.number("x");
        for (number, (operation, zxid)) in rows.into_iter().enumerate() {
            // The numbers begin where the table's do not, so nil alone is the same in both.
            let mut name = |symbol: Symbol| match symbol {
                NIL => NIL,
                symbol => registers.symbols.number(&symbol.0.to_string()),
            };
            let op = match operation.op {
                RegisterOp::Read => RegisterOp::Read,
                RegisterOp::Write(value) => RegisterOp::Write(name(value)),
                RegisterOp::Cas(from, to) => RegisterOp::Cas(name(from), name(to)),
            };
            let outcome = operation.outcome.map(|outcome| match outcome {
                RegisterOutcome::Value(value) => RegisterOutcome::Value(name(value)),
                RegisterOutcome::Done | RegisterOutcome::Swapped(_) => outcome,
            });
            let Operation {
                client, call, ret, ..
            } = operation;
            registers.history.push(Operation {
                client,
                call,
                ret,
                op: (key, op),
                outcome,
            });
            registers.zxids.push(zxid);
            registers.lines.push(number as u32 + 2);
        }
        registers
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Writes a history, in the order given.
///
/// # Errors
/// Those of `output`.
pub fn write(registers: &Registers, mut output: impl Write) -> io::Result<()> {
    let zxids = registers.zxids.iter().copied();
    let operations = registers.history.iter().zip(zxids);
    write_all(&registers.symbols, operations, &mut output)
}

/// Some operations of a case as a file.
pub(super) fn small(case: &Case<Keyed<Register>>, kept: &[u32]) -> Vec<u8> {
    let operations = kept.iter().map(|index| {
        let zxid = case.zxids.get(*index as usize).copied().flatten();
        (&case.history[*index as usize], zxid)
    });
    let mut file = Vec::new();
    write_all(&case.model.symbols, operations, &mut file).expect("a vector takes all");
    file
}

fn write_all<'a>(
    symbols: &Symbols,
    operations: impl Iterator<Item = (&'a OperationOf<Keyed<Register>>, Option<i64>)>,
    mut output: impl Write,
) -> io::Result<()> {
    writeln!(output, "# {}", FIELDS.join("\t"))?;
    for (operation, zxid) in operations {
        let name = |symbol: Symbol| match symbol {
            NIL => "-".to_owned(),
            _ => field(&symbols.name(symbol)),
        };
        let nil = || "-".to_owned();
        let (f, arg1, arg2) = match operation.op.1 {
            RegisterOp::Read => ('r', nil(), nil()),
            RegisterOp::Write(value) => ('w', name(value), nil()),
            RegisterOp::Cas(from, to) => ('c', name(from), name(to)),
        };
        let out = match operation.outcome {
            Some(RegisterOutcome::Value(value)) => name(value),
            Some(RegisterOutcome::Swapped(swapped)) => u8::from(swapped).to_string(),
            Some(RegisterOutcome::Done) | None => nil(),
        };
        writeln!(
            output,
            "{}\t{}\t{}\t{f}\t{}\t{arg1}\t{arg2}\t{out}\t{}",
            operation.client,
            operation.call,
            operation.ret.unwrap_or(-1),
            field(&symbols.name(operation.op.0)),
            zxid.unwrap_or(-1),
        )?;
    }
    Ok(())
}

/// A name from any format as a field: no tab, no line end, and not what stands for nil.
fn field(name: &str) -> String {
    match name {
        "-" => "'-'".to_owned(),
        name if name.contains(char::is_control) => name.escape_debug().to_string(),
        name => name.to_owned(),
    }
}
