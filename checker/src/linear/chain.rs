//! What each configuration has applied, as chains that share their beginnings.
//!
//! A configuration remembers only its last link; links point back. Links that no living
//! configuration leads to are collected when they outnumber the others, so that memory
//! follows what is alive and not what was tried.

/// No link: the beginning.
pub(super) const ROOT: u32 = u32::MAX;

/// Collect not before this many links.
const LINKS_MIN: usize = 1 << 16;

/// Set in a link's operation: the operation was never seen, its place is before the next
/// thing that hides it.
const HIDDEN: u32 = 1 << 31;

/// One application.
#[derive(Debug, Clone, Copy)]
struct Link {
    parent: u32,
    op: u32,
    /// The number of the event at which it was applied.
    event: u32,
}

/// One application, read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// Index of the operation in the history.
    pub(super) op: u32,
    /// The number of the event at which it was applied.
    pub(super) event: u32,
    /// It took effect somewhere before, where nobody could see it.
    pub(super) hidden: bool,
}

/// All links.
pub(super) struct Chains {
    links: Vec<Link>,
    collect_at: usize,
}

impl Chains {
    /// No links.
    pub(super) fn new() -> Self {
        Chains {
            links: Vec::new(),
            collect_at: LINKS_MIN,
        }
    }

    /// A link after `parent`.
    pub(super) fn push(&mut self, parent: u32, op: u32, event: u32, hidden: bool) -> u32 {
        let link = self.links.len() as u32;
        assert!(link < ROOT - 1, "links are numbered with 32 bits");
        let op = if hidden { op | HIDDEN } else { op };
        self.links.push(Link { parent, op, event });
        link
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.links.capacity() * std::mem::size_of::<Link>()
    }

    /// Whether it is time for [`Chains::collect`].
    pub(super) fn is_full(&self) -> bool {
        self.links.len() >= self.collect_at
    }

    /// Forgets every link that no `end` leads to, and renumbers the ends.
    pub(super) fn collect<'a>(&mut self, ends: impl Iterator<Item = &'a mut u32>) {
        let ends: Vec<&mut u32> = ends.collect();
        let mut place = vec![ROOT; self.links.len()];
        const ALIVE: u32 = ROOT - 1;
        for end in &ends {
            let mut at = **end;
            while at != ROOT && place[at as usize] == ROOT {
                place[at as usize] = ALIVE;
                at = self.links[at as usize].parent;
            }
        }
        let mut kept = 0;
        for at in 0..self.links.len() {
            if place[at] == ROOT {
                continue;
            }
            let mut link = self.links[at];
            // A parent is older than its child, so it has moved already.
            if link.parent != ROOT {
                link.parent = place[link.parent as usize];
            }
            self.links[kept] = link;
            place[at] = kept as u32;
            kept += 1;
        }
        self.links.truncate(kept);
        self.collect_at = (kept * 2).max(LINKS_MIN);
        for end in ends {
            if *end != ROOT {
                *end = place[*end as usize];
            }
        }
    }

    /// The chain that ends with `end`, from its beginning.
    pub(super) fn read(&self, end: u32) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut at = end;
        while at != ROOT {
            let link = self.links[at as usize];
            steps.push(Step {
                op: link.op & !HIDDEN,
                event: link.event,
                hidden: link.op & HIDDEN != 0,
            });
            at = link.parent;
        }
        steps.reverse();
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collecting_keeps_what_is_alive() {
        let mut chains = Chains::new();
        let a = chains.push(ROOT, 1, 0, false);
        let b = chains.push(a, 2, 1, true);
        let dead = chains.push(a, 3, 1, false);
        let mut c = chains.push(b, 4, 2, false);
        assert!(dead < c);
        let before = chains.read(c);
        chains.collect(std::iter::once(&mut c));
        assert_eq!(chains.read(c), before);
        assert_eq!(chains.links.len(), 3);
    }
}
