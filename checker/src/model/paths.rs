//! Paths as small numbers.
//!
//! Every path that a history names, and every one the walk comes to name (a sequential
//! node nobody was told about), has one number for the length of a judgement, and knows
//! its parent's. Numbers are never taken back.
//!
//! Histories share equal texts, so most are asked for again and again from the same place in
//! memory. Such a place is remembered, and the text in it neither hashed nor looked at again.
//!
//! Answers to: `consistency.md` 3.2 step 3 (one lookup a path).

use crate::history::Path;
use rustc_hash::FxHashMap;
use std::borrow::Cow;

/// Number of a path.
pub type PathId = u32;

/// No path: the parent of the root and of what is no absolute path.
pub const NO_PATH: PathId = u32::MAX;

/// Most places that are remembered; all are forgotten when there are so many.
const PLACES_MAX: usize = 1 << 16;

/// Places that are looked at first, found without hashing.
const NEAR: usize = 1 << NEAR_BITS;
const NEAR_BITS: u32 = 12;

/// A place in memory, whose child its text names, and what that means; nothing lies at place 0.
type Near = (usize, PathId, PathId);

/// All paths met so far.
#[derive(Clone)]
pub struct Paths<'h> {
    /// What a shared text means, by where it lies and whose child it names ([`NO_PATH`]: it is
    /// a path). The text is held, so that no other can come to lie there.
    places: FxHashMap<(usize, PathId), (PathId, Path)>,
    /// Some of those, each where [`near`] says.
    near: Vec<Near>,
    ids: FxHashMap<Cow<'h, str>, PathId>,
    /// Where a child's path is put together.
    scratch: String,
    names: Vec<Cow<'h, str>>,
    parents: Vec<PathId>,
}

impl<'h> Paths<'h> {
    /// Knows the root only, as number 0.
    pub fn new() -> Self {
        let mut paths = Paths {
            places: FxHashMap::default(),
            near: Vec::new(),
            ids: FxHashMap::default(),
            scratch: String::new(),
            names: Vec::new(),
            parents: Vec::new(),
        };
        paths.add(Cow::Borrowed("/"), NO_PATH);
        paths
    }

    /// The number of a path, new if need be.
    pub fn id(&mut self, path: &'h str) -> PathId {
        match self.ids.get(path) {
            Some(&id) => id,
            None => self.learn(Cow::Borrowed(path)),
        }
    }

    /// The number of a path met before.
    pub fn find(&self, path: &str) -> Option<PathId> {
        self.ids.get(path).copied()
    }

    /// As [`Paths::id`], for a path that does not live as long as this.
    pub fn id_of(&mut self, path: &str) -> PathId {
        match self.ids.get(path) {
            Some(&id) => id,
            None => self.learn(Cow::Owned(path.to_string())),
        }
    }

    /// As [`Paths::id_of`], quick for a text that is asked for often.
    pub fn id_shared(&mut self, path: &Path) -> PathId {
        match self.near(path, NO_PATH) {
            Some(id) => id,
            None => self.approach(path, NO_PATH),
        }
    }

    /// As [`Paths::child`], quick for a text that is asked for often.
    pub fn child_shared(&mut self, parent: PathId, name: &Path) -> PathId {
        match self.near(name, parent) {
            Some(id) => id,
            None => self.approach(name, parent),
        }
    }

    /// True if a text is the path of this number.
    pub fn is_named(&self, id: PathId, text: &Path) -> bool {
        self.remembered(text, NO_PATH) == Some(id) || self.name(id) == &**text
    }

    /// As [`Paths::id`], for a path that the history does not hold.
    pub fn id_of_made(&mut self, path: String) -> PathId {
        match self.ids.get(path.as_str()) {
            Some(&id) => id,
            None => self.learn(Cow::Owned(path)),
        }
    }

    /// The number of `parent`'s child `name`.
    pub fn child(&mut self, parent: PathId, name: &str) -> PathId {
        let mut path = std::mem::take(&mut self.scratch);
        path.clear();
        path.push_str(self.names[parent as usize].trim_end_matches('/'));
        path.push('/');
        path.push_str(name);
        let id = self.id_of(&path);
        self.scratch = path;
        id
    }

    /// The text of a path.
    pub fn name(&self, id: PathId) -> &str {
        self.names.get(id as usize).map_or("(no path)", |name| name)
    }

    /// The parent's number, [`NO_PATH`] for the root and for no path.
    pub fn parent(&self, id: PathId) -> PathId {
        self.parents.get(id as usize).copied().unwrap_or(NO_PATH)
    }

    /// A path and every path above it.
    pub fn upwards(&self, id: PathId) -> impl Iterator<Item = PathId> + '_ {
        let next = |&id: &PathId| Some(self.parent(id)).filter(|&above| above != NO_PATH);
        std::iter::successors(Some(id).filter(|&id| id != NO_PATH), next)
    }

    /// How many there are; numbers run from 0.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    fn remembered(&self, text: &Path, parent: PathId) -> Option<PathId> {
        let place = text.as_ptr().addr();
        self.places.get(&(place, parent)).map(|&(id, _)| id)
    }

    #[inline]
    fn near(&self, text: &Path, parent: PathId) -> Option<PathId> {
        let place = text.as_ptr().addr();
        let near = self.near.get(near(place, parent))?;
        ((near.0, near.1) == (place, parent)).then_some(near.2)
    }

    /// What a text means that is not near, and is from here on.
    fn approach(&mut self, text: &Path, parent: PathId) -> PathId {
        let id = match (self.remembered(text, parent), parent) {
            (Some(id), _) => id,
            (None, NO_PATH) => {
                let id = self.id_of(text);
                self.remember(text, parent, id)
            }
            (None, _) => {
                let id = self.child(parent, text);
                self.remember(text, parent, id)
            }
        };
        if self.near.is_empty() {
            self.near.resize(NEAR, (0, NO_PATH, NO_PATH));
        }
        let place = text.as_ptr().addr();
        self.near[near(place, parent)] = (place, parent, id);
        id
    }

    fn remember(&mut self, text: &Path, parent: PathId, id: PathId) -> PathId {
        if self.places.len() == PLACES_MAX {
            self.places.clear();
            self.near.clear();
        }
        let place = text.as_ptr().addr();
        self.places.insert((place, parent), (id, text.clone()));
        id
    }

    fn learn(&mut self, path: Cow<'h, str>) -> PathId {
        let parent = match path.rfind('/') {
            Some(0) => 0,
            Some(slash) => {
                let parent = path[..slash].to_string();
                self.id_of_made(parent)
            }
            None => NO_PATH,
        };
        self.add(path, parent)
    }

    fn add(&mut self, path: Cow<'h, str>, parent: PathId) -> PathId {
        let id = self.names.len() as PathId;
        self.ids.insert(path.clone(), id);
        self.names.push(path);
        self.parents.push(parent);
        id
    }
}

/// Where among the near ones a place is: the upper bits of a product, on which all others bear.
fn near(place: usize, parent: PathId) -> usize {
    let both = place as u64 ^ (u64::from(parent) << 40);
    (both.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - NEAR_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_comes_to_lie_where_another_was_is_not_taken_for_it() {
        let mut paths = Paths::new();
        for number in 0..3 * PLACES_MAX {
            let text: Path = format!("/{number:08}").into();
            let id = paths.id_shared(&text);
            assert_eq!(paths.name(id), &*text);
        }
        assert!(paths.places.len() <= PLACES_MAX);
    }

    #[test]
    fn a_path_has_one_number_and_knows_its_parent() {
        let mut paths = Paths::new();
        let leaf = paths.id("/a/b/c");
        assert_eq!(paths.id("/a/b/c"), leaf);
        let parent = paths.parent(leaf);
        assert_eq!(paths.name(parent), "/a/b");
        assert_eq!(paths.child(parent, "c"), leaf);
        assert_eq!(paths.child(0, "a"), paths.parent(parent));
        assert_eq!(paths.parent(0), NO_PATH);
        let shared: Path = "/a/b/c".into();
        for _ in 0..2 {
            assert_eq!(paths.id_shared(&shared), leaf);
            let (b, c): (Path, Path) = ("b".into(), "c".into());
            let a = paths.id("/a");
            assert_eq!(paths.child_shared(a, &b), parent);
            assert_eq!(paths.child_shared(parent, &c), leaf);
            assert_ne!(paths.child_shared(a, &c), leaf);
        }
        assert!(paths.is_named(leaf, &shared) && !paths.is_named(parent, &shared));
        let odd = paths.id("no slash");
        assert_eq!(paths.parent(odd), NO_PATH);
    }
}
