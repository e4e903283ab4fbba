//! Which stretches of time a picture of a failure shows: the moments that convict with what
//! was going on around them, and nothing of the hours between.
//!
//! What always holds: stretches are in order and apart, every convicting moment lies in one,
//! and a time maps into the picture in order.

use super::super::deed::Clock;
use super::super::stage::Stage;

/// How many things before and after each convicting one are shown.
const NEIGHBOURS: usize = 16;
/// Stretches closer together than this part of their length are one.
const MERGED_BELOW: u64 = 2;
/// Room between stretches, in thousandths of the picture.
const GAP: f64 = 28.0;
/// Least room at both ends of a stretch, as a part of its length.
const MARGIN: u64 = 30;
/// The picture's width, thousandths of it.
pub const WIDTH: f64 = 1000.0;

/// A stretch of time that is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stretch {
    /// First nanosecond.
    pub from: u64,
    /// Last nanosecond.
    pub until: u64,
    /// Where it begins in the picture, thousandths.
    pub left: f64,
    /// Where it ends.
    pub right: f64,
}

/// All stretches of a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// In order.
    pub stretches: Vec<Stretch>,
}

impl Window {
    /// The window around what convicts, which is given by number.
    pub fn around(stage: &dyn Stage, convicting: &[usize]) -> Window {
        let mut starts: Vec<u64> = (0..stage.len())
            .map(|number| stage.span(number).0)
            .collect();
        starts.sort_unstable();
        let mut wanted: Vec<(u64, u64)> = Vec::new();
        for &number in convicting {
            let (from, until) = stage.span(number);
            wanted.push(neighbourhood(&starts, from));
            wanted.push(neighbourhood(&starts, until));
            let (_, last) = wanted.last_mut().expect("just pushed");
            *last = (*last).max(until);
        }
        wanted.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::new();
        for (from, until) in wanted {
            match merged.last_mut() {
                Some(last)
                    if from.saturating_sub(last.1) < (last.1 - last.0) / MERGED_BELOW + 1 =>
                {
                    last.1 = last.1.max(until);
                }
                _ => merged.push((from, until)),
            }
        }
        Window::laid_out(merged, margin_min(stage.clock()))
    }

    /// Gives every stretch the same room, with gaps between.
    fn laid_out(spans: Vec<(u64, u64)>, margin_min: u64) -> Window {
        let gaps = GAP * spans.len().saturating_sub(1) as f64;
        let room = (WIDTH - gaps) / spans.len().max(1) as f64;
        let stretch = |(index, (from, until)): (usize, (u64, u64))| {
            let margin = ((until - from) / MARGIN).max(margin_min);
            let left = index as f64 * (room + GAP);
            Stretch {
                from: from.saturating_sub(margin),
                until: until.saturating_add(margin),
                left,
                right: left + room,
            }
        };
        Window {
            stretches: spans.into_iter().enumerate().map(stretch).collect(),
        }
    }

    /// True if anything between two times is shown.
    pub fn shows(&self, from: u64, until: u64) -> bool {
        let mut stretches = self.stretches.iter();
        stretches.any(|stretch| from <= stretch.until && until >= stretch.from)
    }

    /// Where a time lies in the picture, thousandths; what is not shown lies at the end of the
    /// stretch before it.
    pub fn place(&self, time: u64) -> f64 {
        let mut place = 0.0;
        for stretch in &self.stretches {
            if time < stretch.from {
                return place;
            }
            let length = (stretch.until - stretch.from).max(1) as f64;
            let part = (time.min(stretch.until) - stretch.from) as f64 / length;
            place = stretch.left + part * (stretch.right - stretch.left);
        }
        place
    }
}

/// Least room at both ends of a stretch.
fn margin_min(clock: Clock) -> u64 {
    match clock {
        Clock::Nanoseconds => 1_000,
        Clock::Numbers => 1,
    }
}

/// From the first to the last of the neighbours of a moment.
fn neighbourhood(starts: &[u64], moment: u64) -> (u64, u64) {
    let at = starts.partition_point(|&start| start < moment);
    let first = starts.get(at.saturating_sub(NEIGHBOURS)).copied();
    let last = starts
        .get((at + NEIGHBOURS).min(starts.len().saturating_sub(1)))
        .copied();
    (
        first.unwrap_or(moment).min(moment),
        last.unwrap_or(moment).max(moment),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_their_order_in_the_picture_and_gaps_take_no_room() {
        let window = Window::laid_out(
            vec![(1_000_000, 2_000_000), (900_000_000, 903_000_000)],
            1_000,
        );
        let times = [
            0,
            1_000_000,
            1_500_000,
            2_000_000,
            500_000_000,
            900_000_000,
            902_000_000,
            u64::MAX,
        ];
        let places: Vec<f64> = times.iter().map(|&time| window.place(time)).collect();
        assert!(places.is_sorted(), "{places:?}");
        assert!(places[5] - places[4] < 50.0, "{places:?}");
        assert!(places.iter().all(|place| (0.0..=WIDTH).contains(place)));
        assert!(!window.shows(3_000_000, 800_000_000) && window.shows(1_900_000, 800_000_000));
    }
}
