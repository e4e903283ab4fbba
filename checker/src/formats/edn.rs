//! A reader of EDN, as far as histories need it.
//!
//! It reads one form after another from bytes. Not here: what forms mean. What always holds:
//! depth and number of what one form holds are bounded, so that no input exhausts the stack or takes
//! many times its own memory; every error names its line; what is
//! no valid token of EDN but stands where one may (`0x1f` in a printed Java object) is read
//! as a symbol, since histories contain such things in places nobody looks at.
//!
//! Answers to: the EDN specification (github.com/edn-format/edn). A small reader of our own,
//! because input of a judge must be bounded and its errors must name lines.

use super::{FormatError, quoted};

/// Forms nested deeper than this are refused.
const DEPTH_MAX: usize = 64;

/// Most forms in one: two letters of input become tens of bytes in memory.
const FORMS_MAX: usize = 1 << 20;

/// A form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// `nil`
    Nil,
    /// `true`, `false`
    Bool(bool),
    /// A whole number that fits.
    Int(i64),
    /// `"text"`, escapes resolved.
    Text(String),
    /// `:keyword`, without the colon.
    Keyword(String),
    /// Anything else that stands alone: symbols, characters, other numbers, as written.
    Other(String),
    /// `(...)` and `[...]`
    Seq(Vec<Form>),
    /// `#{...}`
    Set(Vec<Form>),
    /// `{...}`
    Map(Vec<(Form, Form)>),
}

impl Form {
    /// The value under keyword (or text) `key`, of a map.
    pub fn get(&self, key: &str) -> Option<&Form> {
        let Form::Map(entries) = self else {
            return None;
        };
        let is_it =
            |form: &Form| matches!(form, Form::Keyword(name) | Form::Text(name) if name == key);
        entries
            .iter()
            .find(|(name, _)| is_it(name))
            .map(|(_, value)| value)
    }

    /// A keyword's or text's letters.
    pub fn name(&self) -> Option<&str> {
        match self {
            Form::Keyword(name) | Form::Text(name) => Some(name),
            Form::Nil | Form::Bool(_) | Form::Int(_) | Form::Other(_) => None,
            Form::Seq(_) | Form::Set(_) | Form::Map(_) => None,
        }
    }

    /// The form as text; equal forms have equal texts.
    pub fn show(&self) -> String {
        let mut text = String::new();
        self.show_into(&mut text);
        text
    }

    /// The form as EDN, which is read back as an equal one. (What JSON calls a keyword and EDN
    /// cannot is written as a text.)
    pub fn written(&self) -> String {
        let list = |open: &str, forms: &[Form], close: &str| {
            let forms: Vec<String> = forms.iter().map(Form::written).collect();
            format!("{open}{}{close}", forms.join(" "))
        };
        match self {
            Form::Nil | Form::Bool(_) | Form::Int(_) | Form::Other(_) => self.show(),
            Form::Keyword(name) if is_token(name) => format!(":{name}"),
            Form::Keyword(name) => Form::Text(format!(":{name}")).written(),
            Form::Text(text) => {
                let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
                let escaped = escaped.replace('\n', "\\n").replace('\r', "\\r");
                format!("\"{}\"", escaped.replace('\t', "\\t"))
            }
            Form::Seq(forms) => list("[", forms, "]"),
            Form::Set(forms) => list("#{", forms, "}"),
            Form::Map(entries) => {
                let pairs = entries.iter();
                let pairs =
                    pairs.map(|(key, value)| format!("{} {}", key.written(), value.written()));
                format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn show_into(&self, text: &mut String) {
        match self {
            Form::Nil => text.push_str("nil"),
            Form::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
            Form::Int(value) => text.push_str(&value.to_string()),
            Form::Text(value) => text.push_str(&format!("{value:?}")),
            Form::Keyword(value) => {
                text.push(':');
                text.push_str(value);
            }
            Form::Other(value) => text.push_str(value),
            Form::Seq(forms) => {
                text.push('[');
                for (at, form) in forms.iter().enumerate() {
                    if at > 0 {
                        text.push(' ');
                    }
                    form.show_into(text);
                }
                text.push(']');
            }
            // Neither has an order, so what is written first says nothing.
            Form::Set(forms) => {
                let mut shown: Vec<String> = forms.iter().map(Form::show).collect();
                shown.sort_unstable();
                text.push_str(&format!("#{{{}}}", shown.join(" ")));
            }
            Form::Map(entries) => {
                let pair = |(key, value): &(Form, Form)| format!("{} {}", key.show(), value.show());
                let mut shown: Vec<String> = entries.iter().map(pair).collect();
                shown.sort_unstable();
                text.push_str(&format!("{{{}}}", shown.join(" ")));
            }
        }
    }
}

/// A whole number of any size that happens to fit: `12N` is 12.
fn big(token: &str) -> Option<i64> {
    token.strip_suffix('N')?.parse().ok()
}

/// A floating-point number, written as the shortest that reads the same: `1.50` is `1.5`.
fn float(token: &str) -> Option<String> {
    let is_number = token
        .trim_start_matches(['+', '-'])
        .starts_with(|first: char| first.is_ascii_digit());
    let number: f64 = is_number.then(|| token.parse().ok())??;
    // A whole number too large for us is exact all the same.
    let is_whole = !token.contains(['.', 'e', 'E']);
    (number.is_finite() && !is_whole).then(|| format!("{number:?}"))
}

/// Whether a byte ends what stands alone.
fn ends_token(byte: &u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t' | b'\r' | b'\n' | b',' | b';' | b'"' | b'(' | b')' | b'[' | b']' | b'{' | b'}'
    )
}

fn is_token(name: &str) -> bool {
    !name.bytes().any(|byte| ends_token(&byte))
}

/// Reads forms from bytes.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
    /// Forms within the one that is being read.
    forms: usize,
}

impl<'a> Reader<'a> {
    /// A reader of `bytes`, the first of which stands on line `line`.
    pub fn new(bytes: &'a [u8], line: usize) -> Self {
        Reader {
            bytes,
            at: 0,
            line,
            forms: 0,
        }
    }

    /// The line that is being read.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Enters a sequence that begins here, so that its elements can be read one by one; says
    /// whether one did. [`Reader::leave`] tells when it ends.
    ///
    /// # Errors
    /// The bytes up to here are no EDN.
    pub fn enter(&mut self) -> Result<bool, FormatError> {
        self.skip(0)?;
        let enters = matches!(self.bytes.get(self.at), Some(b'[' | b'('));
        self.at += usize::from(enters);
        Ok(enters)
    }

    /// Leaves the sequence that was entered if it ends here.
    ///
    /// # Errors
    /// The bytes up to here are no EDN, or end.
    pub fn leave(&mut self) -> Result<bool, FormatError> {
        self.skip(0)?;
        match self.bytes.get(self.at) {
            Some(b']' | b')') => {
                self.at += 1;
                Ok(true)
            }
            Some(_) => Ok(false),
            None => Err(self.error("ends inside a sequence")),
        }
    }

    /// Passes to where the next form begins.
    ///
    /// # Errors
    /// The bytes up to here are no EDN.
    pub fn peek(&mut self) -> Result<(), FormatError> {
        self.skip(0)
    }

    /// The next form, or `None` at the end.
    ///
    /// # Errors
    /// The bytes are no EDN.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Form>, FormatError> {
        self.forms = 0;
        self.skip(0)?;
        match self.at == self.bytes.len() {
            true => Ok(None),
            false => self.form(0).map(Some),
        }
    }

    fn form(&mut self, depth: usize) -> Result<Form, FormatError> {
        if depth > DEPTH_MAX {
            return Err(self.error(&format!("forms nested deeper than {DEPTH_MAX}")));
        }
        self.forms += 1;
        if self.forms > FORMS_MAX {
            return Err(self.error(&format!("more than {FORMS_MAX} forms in one")));
        }
        self.skip(depth)?;
        let Some(first) = self.bytes.get(self.at) else {
            return Err(self.error("ends inside a form"));
        };
        match first {
            b'[' => Ok(Form::Seq(self.until(b']', depth)?)),
            b'(' => Ok(Form::Seq(self.until(b')', depth)?)),
            b'{' => self.map(depth),
            b'"' => self.text().map(Form::Text),
            b'#' => self.dispatch(depth),
            // Metadata says nothing of what it stands before.
            b'^' => {
                self.at += 1;
                self.form(depth + 1)?;
                self.form(depth + 1)
            }
            b'\\' => {
                let begin = self.at;
                // The character itself may be one that ends tokens.
                self.at = (self.at + 2).min(self.bytes.len());
                self.token_end();
                Ok(Form::Other(self.written(begin)?))
            }
            b']' | b')' | b'}' => {
                Err(self.error(&format!("{} closes what is not open", quoted(&[*first]))))
            }
            _ => self.atom(),
        }
    }

    /// What `#` begins: a set, a discarded form (skipped before), or a tagged form, whose
    /// tag says nothing that a history needs.
    fn dispatch(&mut self, depth: usize) -> Result<Form, FormatError> {
        self.at += 1;
        match self.bytes.get(self.at) {
            Some(b'{') => Ok(Form::Set(self.until(b'}', depth)?)),
            Some(b'"') => self.text().map(Form::Text),
            Some(b'^') => self.form(depth + 1),
            // `##NaN` and `#'a/var` stand alone.
            Some(b'#' | b'\'') => {
                let begin = self.at - 1;
                self.at += 1;
                self.token_end();
                Ok(Form::Other(self.written(begin)?))
            }
            Some(_) => {
                let begin = self.at;
                self.token_end();
                if self.at == begin {
                    return Err(self.error("`#` with nothing that belongs to it"));
                }
                self.form(depth + 1)
            }
            None => Err(self.error("ends after `#`")),
        }
    }

    fn map(&mut self, depth: usize) -> Result<Form, FormatError> {
        let mut forms = self.until(b'}', depth)?.into_iter();
        let mut entries = Vec::with_capacity(forms.len() / 2);
        while let Some(key) = forms.next() {
            match forms.next() {
                Some(value) => entries.push((key, value)),
                None => return Err(self.error(&format!("a map's key {} has no value", key.show()))),
            }
        }
        Ok(Form::Map(entries))
    }

    fn until(&mut self, close: u8, depth: usize) -> Result<Vec<Form>, FormatError> {
        self.at += 1;
        let mut forms = Vec::new();
        loop {
            self.skip(depth)?;
            match self.bytes.get(self.at) {
                Some(byte) if *byte == close => {
                    self.at += 1;
                    return Ok(forms);
                }
                Some(_) => forms.push(self.form(depth + 1)?),
                None => return Err(self.error("ends inside a form")),
            }
        }
    }

    fn text(&mut self) -> Result<String, FormatError> {
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            let Some(byte) = self.bytes.get(self.at) else {
                return Err(self.error("ends inside a text"));
            };
            self.at += 1;
            match byte {
                b'"' => break,
                b'\\' => {
                    let escaped = self.bytes.get(self.at).copied();
                    self.at += 1;
                    match escaped {
                        Some(b'n') => bytes.push(b'\n'),
                        Some(b't') => bytes.push(b'\t'),
                        Some(b'r') => bytes.push(b'\r'),
                        Some(other @ (b'"' | b'\\')) => bytes.push(other),
                        // Other escapes stay as written: two texts are equal if written equal.
                        Some(other) => bytes.extend([b'\\', other]),
                        None => return Err(self.error("ends inside a text")),
                    }
                }
                b'\n' => {
                    self.line += 1;
                    bytes.push(b'\n');
                }
                other => bytes.push(*other),
            }
        }
        String::from_utf8(bytes).map_err(|_| self.error("a text that is no UTF-8"))
    }

    fn atom(&mut self) -> Result<Form, FormatError> {
        let begin = self.at;
        self.token_end();
        let token = self.written(begin)?;
        Ok(match token.as_str() {
            "nil" => Form::Nil,
            "true" => Form::Bool(true),
            "false" => Form::Bool(false),
            _ => match (token.strip_prefix(':'), token.parse()) {
                (Some(name), _) => Form::Keyword(name.to_owned()),
                (None, Ok(number)) => Form::Int(number),
                (None, Err(_)) => match big(&token) {
                    Some(number) => Form::Int(number),
                    None => Form::Other(float(&token).unwrap_or(token)),
                },
            },
        })
    }

    fn token_end(&mut self) {
        let rest = &self.bytes[self.at..];
        self.at += rest.iter().position(ends_token).unwrap_or(rest.len());
    }

    fn written(&self, begin: usize) -> Result<String, FormatError> {
        let token = &self.bytes[begin..self.at];
        match std::str::from_utf8(token) {
            Ok(token) => Ok(token.to_owned()),
            Err(_) => Err(self.error(&format!("{} is no UTF-8", quoted(token)))),
        }
    }

    /// Passes white space, comments and discarded forms.
    fn skip(&mut self, depth: usize) -> Result<(), FormatError> {
        loop {
            match self.bytes.get(self.at) {
                Some(b'\n') => {
                    self.line += 1;
                    self.at += 1;
                }
                Some(b' ' | b'\t' | b'\r' | b',' | 0x0c) => self.at += 1,
                Some(b';') => {
                    let rest = &self.bytes[self.at..];
                    self.at += rest
                        .iter()
                        .position(|byte| *byte == b'\n')
                        .unwrap_or(rest.len());
                }
                Some(b'#') if self.bytes.get(self.at + 1) == Some(&b'_') => {
                    self.at += 2;
                    self.form(depth + 1)?;
                }
                Some(_) | None => return Ok(()),
            }
        }
    }

    fn error(&self, reason: &str) -> FormatError {
        FormatError::new(self.line, "form", reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, FormatError> {
        let mut reader = Reader::new(text.as_bytes(), 1);
        let mut forms = Vec::new();
        while let Some(form) = reader.next()? {
            forms.push(form.show());
        }
        Ok(forms)
    }

    #[test]
    fn forms_are_read_as_written() {
        let text = "{:process 0, :f :cas, :value [4 \"a\\\"b\"]} #{1 2} (nil true) ; no\n #_ gone \\( 1/2 #inst \"x\"";
        let forms = read(text).unwrap();
        let expected = [
            "{:f :cas :process 0 :value [4 \"a\\\"b\"]}",
            "#{1 2}",
            "[nil true]",
            "\\(",
            "1/2",
            "\"x\"",
        ];
        assert_eq!(forms, expected);
    }

    #[test]
    fn what_says_nothing_of_values_is_passed_over() {
        let text = "^{:line 3} [1N 2 ^:a x] #jepsen.history.Op{:index 0, :type :ok} #:e{:f :r} \
                    ##NaN #'user/x 1.50M 7/2 #_ #_ a b #inst \"2020\" +4 -3 12345678901234567890N";
        let expected = [
            "[1 2 x]",
            "{:index 0 :type :ok}",
            "{:f :r}",
            "##NaN",
            "#'user/x",
            "1.50M",
            "7/2",
            "\"2020\"",
            "4",
            "-3",
            "12345678901234567890N",
        ];
        assert_eq!(read(text).unwrap(), expected);
        assert!(read("^{:a 1}").is_err());
    }

    #[test]
    fn equal_values_are_shown_alike_however_they_were_written() {
        for (left, right) in [
            ("{:a 1 :b #{2 1}}", "{:b #{1 2}, :a 1}"),
            ("(1 2)", "[1 2]"),
            ("1.5", "1.50"),
            ("-1e3", "-1000.0"),
        ] {
            assert_eq!(read(left), read(right));
        }
        for (left, right) in [
            ("1", "1.0"),
            ("12345678901234567890", "12345678901234567891"),
            ("1.5M", "1.50M"),
            ("inf", "NaN"),
            ("{:a 1 :b 2}", "{:a 2 :b 1}"),
        ] {
            assert_ne!(read(left), read(right));
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text =
            "{:f :cas, :value [4 \"a\\\"b\\\\n\\n\\u00e9\\t\"], :of #{1 nil true}, 1/2 (x [])}";
        let form = Reader::new(text.as_bytes(), 1).next().unwrap().unwrap();
        let written = form.written();
        assert!(!written.contains('\n'), "one line: {written}");
        let again = Reader::new(written.as_bytes(), 1).next().unwrap();
        assert_eq!(again, Some(form));
        assert_eq!(Form::Keyword("a b".into()).written(), "\":a b\"");
    }

    #[test]
    fn errors_name_the_line() {
        assert_eq!(read("{:a 1}\n{:b").unwrap_err().line, 2);
        assert_eq!(read("\n\n]").unwrap_err().line, 3);
        assert_eq!(read("{:a}").unwrap_err().line, 1);
    }

    #[test]
    fn what_one_form_may_hold_is_bounded_and_what_a_file_may_is_not() {
        let most = format!("[{}]", "1 ".repeat(FORMS_MAX - 1));
        assert_eq!(read(&format!("{most}{most}")).unwrap().len(), 2);
        let more = most.replace(']', " 1]");
        assert!(read(&more).unwrap_err().reason.contains("more than"));
    }

    #[test]
    fn depth_is_bounded() {
        for deep in [
            "[".repeat(100_000),
            "#_".repeat(100_000),
            "#a ".repeat(100_000),
            "^a ".repeat(100_000),
            "^".repeat(100_000),
        ] {
            assert!(
                read(&deep).unwrap_err().reason.contains("deeper"),
                "{deep:.9}"
            );
        }
    }
}
