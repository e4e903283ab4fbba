//! `--explain`, `--reduce` and `--html`: what a failure tells.

use clap::Args;
use gamekeeper_checker::explain::{self, Budget, Explanation, timeline};
use gamekeeper_checker::formats::Failure;
use gamekeeper_checker::history::{self, History};
use gamekeeper_checker::{Options, Verdict};
use std::fmt::Display;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// What to make of a violation.
#[derive(Args, Debug)]
pub struct ExplainArguments {
    /// Explain a violation at length, with a reduced history that fails the same way.
    #[arg(long)]
    pub explain: bool,
    /// Write the reduced history there: JSON lines; of a foreign history tab-separated lines
    /// (registers) or EDN (others). Implies --explain; one input only.
    #[arg(long, value_name = "OUT")]
    pub reduce: Option<PathBuf>,
    /// Write a page with a picture of the time around a violation (implies --explain; one input
    /// only).
    #[arg(long, value_name = "OUT")]
    pub html: Option<PathBuf>,
    /// Most judgements that a reduction may take; steps of the search bound it too.
    #[arg(long, value_name = "N", default_value_t = Budget::default().judgements)]
    pub judgements: u32,
}

impl ExplainArguments {
    /// True if a violation is to be explained.
    pub fn wanted(&self) -> bool {
        self.explain || self.reduce.is_some() || self.html.is_some()
    }

    /// The flag that writes a file, of which there can be only one.
    pub fn writes(&self) -> Option<&'static str> {
        let reduce = self.reduce.as_ref().map(|_| "--reduce");
        reduce.or(self.html.as_ref().map(|_| "--html"))
    }

    /// Explains a verdict, if it is one that can be, and writes what was asked for.
    ///
    /// # Errors
    /// A file could not be written: one line that names it.
    pub fn apply(
        &self,
        name: &Path,
        history: &History,
        options: &Options,
        verdict: &Verdict,
    ) -> Result<Option<Explanation>, String> {
        let Verdict::Invalid(violation) = verdict else {
            return Ok(None);
        };
        let explanation = explain::explain(history, options, violation, self.budget());
        if let (Some(file), Some(reduction)) = (&self.reduce, &explanation.reduction) {
            save(file, |output| history::write(output, &reduction.history))?;
        }
        self.draw(name, |name| {
            timeline::page(name, history, &explanation, &[])
        })?;
        Ok(Some(explanation))
    }

    /// Writes what was asked for of a foreign history's failure.
    ///
    /// # Errors
    /// A file could not be written: one line that names it.
    pub fn write_foreign(&self, name: &Path, failure: &Failure) -> Result<(), String> {
        if let (Some(file), Some(small)) = (&self.reduce, &failure.small) {
            save(file, |output| output.write_all(small))?;
        }
        self.draw(name, |name| failure.page(name))
    }

    /// How much work a reduction may be.
    pub fn budget(&self) -> Budget {
        Budget {
            judgements: self.judgements,
            ..Budget::default()
        }
    }

    /// Writes a page if one was asked for.
    fn draw<E: Display>(
        &self,
        name: &Path,
        page: impl FnOnce(&str) -> Result<String, E>,
    ) -> Result<(), String> {
        let Some(file) = &self.html else {
            return Ok(());
        };
        let page = page(&name.display().to_string())
            .map_err(|error| format!("{}: {error}", file.display()))?;
        save(file, |output| output.write_all(page.as_bytes()))
    }
}

fn save(
    file: &Path,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), String> {
    let named = |error: std::io::Error| format!("{}: {error}", file.display());
    let mut output = BufWriter::new(File::create(file).map_err(named)?);
    write(&mut output)
        .and_then(|()| output.flush())
        .map_err(named)
}
