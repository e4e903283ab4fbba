//! Values as numbers: histories repeat few values often.

use rustc_hash::FxHashMap;
use std::sync::Arc;

/// A value by number. Equal numbers of one [`Symbols`] are equal values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(pub u32);

/// No value: what a register holds before the first write.
pub const NIL: Symbol = Symbol(0);

/// The values behind the numbers, as they were written in the file.
#[derive(Debug, Clone)]
pub struct Symbols {
    names: Vec<Arc<str>>,
    numbers: FxHashMap<Arc<str>, Symbol>,
}

impl Default for Symbols {
    fn default() -> Self {
        // Nil has a name to be shown by and none to be found by: a format knows its own nil.
        Symbols {
            names: vec!["nil".into()],
            numbers: FxHashMap::default(),
        }
    }
}

impl Symbols {
    /// The number of the value written `name`, never [`NIL`].
    pub fn number(&mut self, name: &str) -> Symbol {
        if let Some(symbol) = self.numbers.get(name) {
            return *symbol;
        }
        let symbol = Symbol(u32::try_from(self.names.len()).expect("fewer values than 2^32"));
        let name: Arc<str> = name.into();
        self.names.push(name.clone());
        self.numbers.insert(name, symbol);
        symbol
    }

    /// The value as it was written; a number that is not of this table is shown as such.
    pub fn name(&self, symbol: Symbol) -> String {
        match self.names.get(symbol.0 as usize) {
            Some(name) => name.to_string(),
            None => format!("#{}", symbol.0),
        }
    }

    /// How many values there are, nil among them.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none: never, nil is there.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}
