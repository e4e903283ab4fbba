//! Makes a scenario that fails smaller, while it goes on failing in the same way.
//!
//! Greedy: leave something out, live what is left, keep it when the same property or
//! invariant fails; begin again until nothing more can go. Faults go first and in halves
//! (delta debugging, Zeller and Hildebrandt 2002), then work, time, servers, and at last what
//! is unusual about clocks, roads and disks.
//!
//! What it is not: it draws nothing and knows no fault by name. What always holds: the same
//! scenario shrinks to the same scenario on every machine; a candidate that could not be
//! written to a file and run from there is never lived; the number of lives is bounded.

use crate::outcome::Verdict;
use crate::scenario::Scenario;
use std::collections::BTreeSet;

/// Most lives spent on one scenario, unless told otherwise.
pub const LIVES_MAX: u64 = 500;
/// Values of at most this many bytes are small enough.
const VALUE_BYTES: u64 = 8;

/// What a scenario was shrunk to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shrunk {
    /// The smallest scenario found.
    pub scenario: Scenario,
    /// How it fails.
    pub verdict: Verdict,
    /// Lives spent, the first one included.
    pub lives: u64,
    /// True when the lives ran out before nothing more could go.
    pub cut_short: bool,
}

/// Shrinks a scenario. `live` lives one and judges it; `told` hears of every life, with the
/// smallest scenario so far and the number of lives.
///
/// # Errors
/// One line, when the scenario does not fail, or fails in a way that has no smaller form.
pub fn shrink(
    scenario: &Scenario,
    lives_max: u64,
    live: impl FnMut(&Scenario) -> Verdict,
    told: impl FnMut(&Scenario, u64),
) -> Result<Shrunk, String> {
    let mut live = live;
    let verdict = live(scenario);
    let failure = match Failure::of(&verdict) {
        Some(failure) => failure,
        None => {
            return Err(format!(
                "seed {} is {}: only an invalid or unknown life can be made smaller",
                scenario.seed,
                verdict.name()
            ));
        }
    };
    let mut shrinker = Shrinker {
        best: scenario.clone(),
        verdict,
        failure,
        lives: 1,
        lives_max,
        tried: BTreeSet::new(),
        live,
        told,
    };
    shrinker.run();
    Ok(Shrunk {
        cut_short: shrinker.spent(),
        scenario: shrinker.best,
        verdict: shrinker.verdict,
        lives: shrinker.lives,
    })
}

/// What two lives have in common when they fail in the same way: the property, and for a
/// panic its place. What the records say changes with everything that is left out.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Failure {
    property: String,
    place: Option<String>,
}

impl Failure {
    /// `None` for a life that is valid, and for one that is vacuous: whatever is left of it
    /// would be vacuous as well.
    fn of(verdict: &Verdict) -> Option<Failure> {
        match verdict {
            Verdict::Invalid {
                property, place, ..
            } => Some(Failure {
                // An ensemble can be lifeless in several ways, which only the words tell apart.
                property: match property.as_str() {
                    "liveness" => verdict.signature(),
                    _ => property.clone(),
                },
                // Behind the place stands who was there; that may be another server.
                place: (place.as_deref())
                    .map(|place| place.split(" (").next().unwrap_or_default().to_string()),
            }),
            Verdict::Unknown { .. } => Some(Failure {
                property: verdict.name().into(),
                place: None,
            }),
            Verdict::Valid | Verdict::Vacuous { .. } => None,
        }
    }
}

struct Shrinker<L, T> {
    best: Scenario,
    verdict: Verdict,
    failure: Failure,
    lives: u64,
    lives_max: u64,
    /// What was lived already, as files. Bounded by the lives.
    tried: BTreeSet<String>,
    live: L,
    told: T,
}

impl<L: FnMut(&Scenario) -> Verdict, T: FnMut(&Scenario, u64)> Shrinker<L, T> {
    fn run(&mut self) {
        loop {
            let before = self.best.clone();
            self.drop_faults();
            self.drop_work();
            self.drop_time();
            self.drop_servers();
            self.make_plain();
            if self.spent() || self.best == before {
                return;
            }
        }
    }

    fn spent(&self) -> bool {
        self.lives >= self.lives_max
    }

    /// Lives what `change` makes of the smallest scenario; true when that is the smallest now.
    fn try_with(&mut self, change: impl FnOnce(&mut Scenario)) -> bool {
        let mut candidate = self.best.clone();
        change(&mut candidate);
        let text = candidate.to_toml();
        // Only what a file can say may be lived: the file is what comes out of this.
        let Ok(candidate) = Scenario::from_toml(&text) else {
            return false;
        };
        if candidate == self.best || self.spent() || !self.tried.insert(text) {
            return false;
        }
        self.lives += 1;
        let verdict = (self.live)(&candidate);
        let same = Failure::of(&verdict).as_ref() == Some(&self.failure);
        if same {
            self.best = candidate;
            self.verdict = verdict;
        }
        (self.told)(&self.best, self.lives);
        same
    }

    /// All of them, then halves, quarters, down to single ones.
    fn drop_faults(&mut self) {
        let mut chunk = self.best.plan.len();
        while chunk > 0 {
            let mut at = 0;
            while at < self.best.plan.len() {
                let end = (at + chunk).min(self.best.plan.len());
                let dropped = self.try_with(|s| {
                    s.plan.drain(at..end);
                });
                if !dropped {
                    at = end;
                }
            }
            chunk /= 2;
        }
    }

    /// Whole groups of clients, then clients, then how much there is to their work.
    fn drop_work(&mut self) {
        let mut at = self.best.workloads.len();
        while at > 0 {
            at -= 1;
            self.try_with(|s| {
                s.workloads.remove(at);
            });
        }
        for at in 0..self.best.workloads.len() {
            if !self.try_with(|s| s.workloads[at].clients = 1) {
                while self.try_with(|s| s.workloads[at].clients -= s.workloads[at].clients / 2) {}
            }
            self.try_with(|s| s.workloads[at].pipeline = 1);
            self.try_with(|s| s.workloads[at].keys = 1);
            self.try_with(|s| {
                let bytes = &mut s.workloads[at].value_bytes_max;
                *bytes = (*bytes).min(VALUE_BYTES);
            });
        }
    }

    /// The end of the chaos, the pauses between faults, their durations, the warm-up.
    fn drop_time(&mut self) {
        for (keep, of) in [(1, 4), (1, 2), (3, 4), (9, 10)] {
            while self.try_with(|s| {
                s.phases.chaos_ms = s.phases.chaos_ms * keep / of;
                let end_ms = s.phases.chaos_ms;
                s.plan.retain(|fault| fault.at_ms <= end_ms);
            }) {}
        }
        for at in 0..self.best.plan.len() {
            // A pause goes and the chaos is that much shorter; or only the faults come earlier.
            for (part, shorter) in [(1, true), (2, true), (1, false), (2, false)] {
                self.try_with(|s| {
                    let before_ms = at.checked_sub(1).map_or(0, |before| s.plan[before].at_ms);
                    let gone_ms = (s.plan[at].at_ms - before_ms) / part;
                    s.plan[at..].iter_mut().for_each(|f| f.at_ms -= gone_ms);
                    if shorter {
                        s.phases.chaos_ms = s.phases.chaos_ms.saturating_sub(gone_ms).max(1);
                    }
                });
            }
            self.try_with(|s| s.plan[at].for_ms /= 2);
        }
        self.try_with(|s| s.phases.warmup_ms /= 2);
    }

    fn drop_servers(&mut self) {
        while self.try_with(|s| s.cluster.observers = s.cluster.observers.saturating_sub(1)) {}
        while self.try_with(|s| s.cluster.voters = s.cluster.voters.saturating_sub(2)) {}
    }

    /// What is left should be read without asking whether it matters that a clock drifts.
    fn make_plain(&mut self) {
        self.try_with(|s| (s.clock.wall_offset_ms_max, s.clock.drift_ppm_max) = (0, 0));
        self.try_with(|s| {
            (
                s.network.peers.tail_permille,
                s.network.clients.tail_permille,
            ) = (0, 0);
        });
        self.try_with(|s| (s.disk.write.tail_permille, s.disk.sync.tail_permille) = (0, 0));
        self.try_with(|s| s.phases.heal_core_only = false);
    }
}

/// The file a shrunk scenario is kept in: the story as far as it is known, then everything.
/// `origin` says what it was shrunk from.
pub fn to_file(shrunk: &Shrunk, origin: &str) -> String {
    let mut head = vec![
        format!("Shrunk from {origin}, in {} lives.", shrunk.lives),
        format!("Fails as {}", shrunk.verdict.signature()),
    ];
    if let Verdict::Invalid { records, .. } = &shrunk.verdict {
        head.extend(records.iter().skip(1).map(|record| format!("- {record}")));
    }
    let mut file = String::new();
    for line in head.iter().flat_map(|line| line.lines()) {
        file.push_str("# ");
        file.push_str(line);
        file.push('\n');
    }
    file + &shrunk.scenario.to_toml()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    fn invalid(property: &str, record: &str) -> Verdict {
        Verdict::Invalid {
            property: property.into(),
            records: vec![record.into()],
            place: None,
        }
    }

    /// Fails while a kill and a partition are planned, and something else as well.
    fn verdict(scenario: &Scenario) -> Verdict {
        let has = |kind: &str| scenario.plan.iter().any(|f| f.fault.kind() == kind);
        match (has("kill"), has("isolate"), scenario.phases.chaos_ms) {
            (true, true, 3000..) => invalid("P5", &format!("{} faults", scenario.plan.len())),
            (true, true, _) => Verdict::Valid,
            (true, false, _) => invalid("P6", "another failure"),
            (false, _, _) => Verdict::Vacuous {
                why: "nothing".into(),
            },
        }
    }

    fn failing() -> Scenario {
        (0..200)
            .map(|seed| scenario::draw(seed, 3000))
            .find(|s| s.cluster.voters == 5 && matches!(verdict(s), Verdict::Invalid { ref property, .. } if property == "P5"))
            .expect("one of many seeds plans both")
    }

    #[test]
    fn what_does_not_matter_goes_and_the_failure_stays_the_same() {
        let shrunk = shrink(&failing(), LIVES_MAX, verdict, |_, _| {}).unwrap();
        let mut kinds: Vec<_> = shrunk
            .scenario
            .plan
            .iter()
            .map(|f| f.fault.kind())
            .collect();
        kinds.sort_unstable();
        assert_eq!(kinds, ["isolate", "kill"]);
        assert_eq!(
            shrunk.verdict,
            invalid("P5", "2 faults"),
            "not another failure"
        );
        let s = &shrunk.scenario;
        assert!((3000..3500).contains(&s.phases.chaos_ms), "{:?}", s.phases);
        assert_eq!((s.cluster.voters, s.cluster.observers), (1, 0));
        assert_eq!(s.workloads.len(), 1);
        assert_eq!((s.workloads[0].clients, s.workloads[0].pipeline), (1, 1));
        assert!(!shrunk.cut_short);
    }

    #[test]
    fn same_scenario_shrinks_to_the_same() {
        let once = || shrink(&failing(), 60, verdict, |_, _| {}).unwrap();
        let first = once();
        assert_eq!(first, once());
        assert!(first.cut_short && first.lives == 60);
    }

    #[test]
    fn no_scenario_is_lived_twice() {
        let mut lived = Vec::new();
        let watched = |s: &Scenario| {
            lived.push(s.to_toml());
            verdict(s)
        };
        shrink(&failing(), LIVES_MAX, watched, |_, _| {}).unwrap();
        let all = lived.len();
        lived.sort_unstable();
        lived.dedup();
        assert_eq!(lived.len(), all);
    }

    #[test]
    fn what_does_not_fail_is_told_in_one_line() {
        let calm = scenario::draw(1, 0);
        let told = shrink(&calm, LIVES_MAX, |_| Verdict::Valid, |_, _| {}).unwrap_err();
        assert!(told.contains("seed 1 is valid"), "{told}");
        let told = shrink(&calm, LIVES_MAX, verdict, |_, _| {}).unwrap_err();
        assert!(told.contains("vacuous"), "{told}");
    }

    #[test]
    fn panic_stays_the_panic_of_its_place() {
        let at = |place: &str| Verdict::Invalid {
            property: "panic".into(),
            records: vec![],
            place: Some(place.into()),
        };
        let failure = |place| Failure::of(&at(place));
        assert_eq!(failure("zab.rs:3:9 (s1)"), failure("zab.rs:3:9 (s2)"));
        assert_ne!(failure("zab.rs:3:9 (s1)"), failure("zab.rs:4:9 (s1)"));
    }

    #[test]
    fn ensemble_that_commits_nothing_is_not_one_whose_trees_differ() {
        let no_write = invalid("liveness", "no write was committed within 60000 ms");
        let sooner = invalid("liveness", "no write was committed within 9 ms");
        let unequal = invalid("liveness", "no equal trees within 60000 ms");
        assert_eq!(Failure::of(&no_write), Failure::of(&sooner));
        assert_ne!(Failure::of(&no_write), Failure::of(&unequal));
    }

    #[test]
    fn file_tells_the_story_and_reads_back_equal() {
        let shrunk = Shrunk {
            scenario: scenario::draw(3, 1000),
            verdict: Verdict::Invalid {
                property: "P5".into(),
                records: vec!["first".into(), "second\nline".into()],
                place: None,
            },
            lives: 9,
            cut_short: false,
        };
        let text = to_file(&shrunk, "seed 3");
        assert!(text.starts_with("# Shrunk from seed 3, in 9 lives.\n# Fails as P5: first\n"));
        assert!(text.contains("\n# - second\n# line\n"), "{text}");
        assert_eq!(Scenario::from_toml(&text), Ok(shrunk.scenario));
    }
}
