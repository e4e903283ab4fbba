//! A foreign history judged, and what its failure tells.

use super::report::Report;
use crate::explain::Stage;
use crate::explain::operations::{Case, Explanation};
use crate::linear::Model;

/// A foreign history judged.
pub struct Judged {
    /// The verdict.
    pub report: Report,
    /// The failure, if there is one and it was to be explained.
    pub failure: Option<Failure>,
}

/// A failure of a foreign history.
pub struct Failure {
    /// What it tells.
    pub explanation: Explanation,
    /// The reduced history as a file: registers as tab-separated lines, others as EDN events.
    /// None if there is none.
    pub small: Option<Vec<u8>>,
    /// The history, to be drawn.
    stage: Box<dyn Stage>,
}

impl Judged {
    /// Puts together what was found; `small` writes some operations of the case.
    pub(super) fn new<M: Model + 'static>(
        report: Report,
        explanation: Option<Explanation>,
        case: Case<M>,
        small: impl FnOnce(&Case<M>, &[u32]) -> Vec<u8>,
    ) -> Judged {
        let failure = explanation.map(|explanation| Failure {
            small: explanation
                .reduction
                .as_ref()
                .map(|reduction| small(&case, &reduction.kept)),
            explanation,
            stage: Box::new(case),
        });
        Judged { report, failure }
    }
}

impl Failure {
    /// The failure as a page. `name` is what the history is called.
    ///
    /// # Errors
    /// The template could not be filled in.
    pub fn page(&self, name: &str) -> Result<String, askama::Error> {
        self.explanation.scene(&*self.stage).page(name)
    }
}
