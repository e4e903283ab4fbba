//! Watches that stay when they fire, held against the causes that were proved.
//!
//! A post is what addWatch leaves behind: it hears every cause of its scope from then on. On
//! clear paths it is known which those are, so each notification is of the first that was not
//! told, and none may be left out before anything newer is shown. A *loose* post may be gone:
//! where another mode was registered on its path (servers before 3.9 keep one), or where a
//! removal, or the registration itself, is not certain. It explains and demands nothing.
//!
//! Answers to: `consistency.md` P10 to P12; `protocol.md` 12.2 to 12.7.

use super::causes::{Cause, Causes};
use crate::history::{EventType, WatchKind, WatchMode};
use rustc_hash::FxHashSet;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What a post hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hears {
    /// Its node.
    Node,
    /// The list of its node's children.
    List,
    /// Its node and every node below.
    Below,
}

const ALL: [Hears; 3] = [Hears::Node, Hears::List, Hears::Below];

impl Hears {
    fn event(self, event: EventType) -> bool {
        match (self, event) {
            (_, EventType::NodeDeleted) => true,
            (Hears::List, event) => event == EventType::NodeChildrenChanged,
            (Hears::Node | Hears::Below, event) => event != EventType::NodeChildrenChanged,
        }
    }

    fn path(self, own: &str, other: &str) -> bool {
        let under = || match (self, other.strip_prefix(own)) {
            (Hears::Below, Some(rest)) => own == "/" || rest.starts_with('/'),
            (_, _) => false,
        };
        own == other || under()
    }
}

/// One cause on one path: when, where, which of that path's.
type Sound<'h> = (i64, &'h str, usize);

struct Post<'h> {
    zxid: i64,
    /// Made by setWatches.
    again: bool,
    loose: bool,
    sounds: Rc<[Sound<'h>]>,
    /// So many of them need not be looked at any more.
    passed: usize,
}

/// The posts of one connection.
#[derive(Default)]
pub struct Posts<'h> {
    posts: BTreeMap<(Hears, &'h str), Post<'h>>,
    told: FxHashSet<(&'h str, usize)>,
}

/// What a notification is to the posts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// None waits for it.
    Nothing,
    /// One may.
    Perhaps,
    /// It is of this.
    Of(Cause),
}

/// Something that was to be told, and was not.
pub struct Untold<'h> {
    /// Whose post it was.
    pub post: &'h str,
    /// Where it happened.
    pub path: &'h str,
    /// When.
    pub zxid: i64,
}

impl<'h> Posts<'h> {
    /// addWatch in the state after `zxid`, which is not positive if that is not known.
    pub fn add(
        &mut self,
        causes: &Causes<'h>,
        (path, mode): (&'h str, WatchMode),
        zxid: i64,
        again: bool,
    ) {
        let loose = zxid <= 0;
        let (made, met): (&[Hears], &[Hears]) = match mode {
            WatchMode::Persistent => (&[Hears::Node, Hears::List], &[Hears::Below]),
            WatchMode::Recursive => (&[Hears::Below], &[Hears::List]),
        };
        met.iter().for_each(|&hears| self.loosen((hears, path)));
        for &hears in made {
            let key = (hears, path);
            if self
                .posts
                .get(&key)
                .is_some_and(|post| loose || !post.loose)
            {
                continue;
            }
            let sounds: Rc<[Sound<'h>]> = match loose {
                true => Rc::new([]),
                false => sounds(causes, key).into(),
            };
            let passed = sounds.partition_point(|&(at, ..)| at <= zxid);
            self.posts.insert(
                key,
                Post {
                    zxid,
                    again,
                    loose,
                    sounds,
                    passed,
                },
            );
        }
    }

    fn loosen(&mut self, key: (Hears, &'h str)) {
        if let Some(post) = self.posts.get_mut(&key) {
            post.loose = true;
        }
    }

    /// A watch that fires once is registered on a path, for its children or for itself.
    pub fn meet(&mut self, path: &'h str, children: bool) {
        for hears in ALL
            .into_iter()
            .filter(|&hears| (hears == Hears::List) == children)
        {
            self.loosen((hears, path));
        }
    }

    /// removeWatches was answered; not, if `fate` is unknown.
    pub fn remove(&mut self, path: &'h str, kind: WatchKind, fate: bool) {
        let (gone, sure): (&[Hears], bool) = match kind {
            WatchKind::Any => (&ALL, true),
            WatchKind::Persistent => (&[Hears::Node, Hears::List], true),
            WatchKind::Recursive => (&[Hears::Below], true),
            // Before 3.9 of any mode.
            WatchKind::Data => (&[Hears::Node, Hears::Below], false),
            WatchKind::Children => (&[Hears::List], false),
        };
        for &hears in gone {
            match sure && fate {
                true => drop(self.posts.remove(&(hears, path))),
                false => self.loosen((hears, path)),
            }
        }
    }

    /// From here on none demands anything.
    pub fn loosen_all(&mut self) {
        self.posts.values_mut().for_each(|post| post.loose = true);
    }

    /// A notification came; `zxid` is not positive if it does not say of what. `made_up`: it
    /// may be what setWatches makes up for, so that nobody knows any more what was told.
    pub fn hear(
        &mut self,
        causes: &Causes<'h>,
        (zxid, event, path): (i64, EventType, &'h str),
        made_up: bool,
    ) -> Heard {
        if self.posts.is_empty() {
            return Heard::Nothing;
        }
        let posts = self.posts.iter_mut();
        let hearing = posts.filter(|((hears, own), _)| hears.event(event) && hears.path(own, path));
        let (mut since, mut perhaps) = (i64::MAX, false);
        for (_, post) in hearing {
            post.loose |= made_up;
            perhaps |= post.loose || !causes.is_clear(path);
            if !post.loose {
                since = since.min(post.zxid);
            }
        }
        let told = &self.told;
        let mut of = (causes.on(path).iter().enumerate()).filter(|(at, cause)| {
            let same = cause.event == event && (zxid <= 0 || cause.zxid == zxid);
            same && cause.zxid > since && !told.contains(&(path, *at))
        });
        match of.next().filter(|_| causes.is_clear(path)) {
            Some((at, cause)) => {
                self.told.insert((path, at));
                Heard::Of(*cause)
            }
            None if perhaps => Heard::Perhaps,
            None => Heard::Nothing,
        }
    }

    /// All that was to be told up to `zxid` has been, but for what was registered by setWatches
    /// unless those count.
    ///
    /// # Errors
    /// What was not.
    pub fn pass(&mut self, zxid: i64, again_counts: bool) -> Result<(), Untold<'h>> {
        let told = &self.told;
        let posts = self.posts.iter_mut();
        for ((_, own), post) in posts.filter(|(_, post)| !post.loose) {
            if post.again && !again_counts {
                continue;
            }
            while let Some(&(at, path, number)) = post.sounds.get(post.passed)
                && at <= zxid
            {
                if !told.contains(&(path, number)) {
                    let (post, zxid) = (*own, at);
                    return Err(Untold { post, path, zxid });
                }
                post.passed += 1;
            }
        }
        Ok(())
    }
}

/// Every cause that a post surely hears, in order.
fn sounds<'h>(causes: &Causes<'h>, (hears, own): (Hears, &'h str)) -> Vec<Sound<'h>> {
    let mut sounds = Vec::new();
    for path in causes.paths().filter(|path| hears.path(own, path)) {
        if causes.is_clear(path) {
            let here = causes.on(path).iter().enumerate();
            let heard = here.filter(|(_, cause)| hears.event(cause.event));
            sounds.extend(heard.map(|(number, cause)| (cause.zxid, path, number)));
        }
    }
    sounds.sort_unstable();
    sounds
}
