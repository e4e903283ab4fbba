//! Delta debugging: leaving out as much as can be left out.
//!
//! What convicts, and what may be left out together, is the caller's affair; this decides
//! only in which order it is tried.
//!
//! Answers to: Zeller and Hildebrandt, Simplifying and Isolating Failure-Inducing Input.

/// Most things of which any two are tried together.
const PAIRED_MAX: usize = 40;

/// Leaves out as many of the groups as can be: all at once, halves, quarters, one by one.
/// `leave_out` tries to leave these out as well, and says whether they are out now.
pub fn thin<T: Clone>(mut groups: Vec<Vec<T>>, mut leave_out: impl FnMut(&[T]) -> bool) {
    let mut size = groups.len();
    while size > 0 {
        let mut at = 0;
        while at < groups.len() {
            let end = (at + size).min(groups.len());
            match leave_out(&groups[at..end].concat()) {
                true => drop(groups.drain(at..end)),
                false => at = end,
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
}

/// Leaves out any two things of which neither can go alone, if there are few: what was put
/// in and what was taken out again.
pub fn thin_pairs<T: Clone>(mut things: Vec<T>, mut leave_out: impl FnMut(&[T]) -> bool) {
    if things.len() > PAIRED_MAX {
        return;
    }
    let mut first = 0;
    while first < things.len() {
        let mut second = first + 1;
        while second < things.len() {
            if leave_out(&[things[first].clone(), things[second].clone()]) {
                things.remove(second);
                things.remove(first);
                second = first + 1;
            } else {
                second += 1;
            }
        }
        first += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps what `convicts` needs.
    fn left(convicts: impl Fn(&[u32]) -> bool, pairs: bool) -> Vec<u32> {
        let mut kept: Vec<u32> = (0..20).collect();
        let singles: Vec<Vec<u32>> = kept.iter().map(|&one| vec![one]).collect();
        let mut leave_out = |gone: &[u32]| {
            let rest: Vec<u32> = kept
                .iter()
                .copied()
                .filter(|one| !gone.contains(one))
                .collect();
            let fits = convicts(&rest);
            if fits {
                kept = rest;
            }
            fits
        };
        match pairs {
            true => thin_pairs((0..20).collect(), &mut leave_out),
            false => thin(singles, &mut leave_out),
        }
        kept
    }

    #[test]
    fn what_is_needed_stays_and_nothing_else() {
        let needed = |rest: &[u32]| [3, 11, 12].iter().all(|one| rest.contains(one));
        assert_eq!(left(needed, false), [3, 11, 12]);
        assert!(left(|_| true, false).is_empty());
        assert_eq!(left(|_| false, false).len(), 20);
    }

    #[test]
    fn what_can_go_only_together_goes_in_pairs() {
        let balanced = |rest: &[u32]| rest.len().is_multiple_of(2) && rest.contains(&7);
        let kept = left(balanced, true);
        assert!(kept.len() == 2 && kept.contains(&7), "{kept:?}");
    }
}
