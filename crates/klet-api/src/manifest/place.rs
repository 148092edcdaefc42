//! Source positions, in a tree of the same shape as the document.

/// A range of the source text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// First byte.
    pub start: usize,
    /// Byte after the last; equal to `start` when only the point is known.
    pub end: usize,
}

/// The position of one value and of everything inside it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) mark: Option<Mark>,
    pub(super) children: Children,
}

/// Positions inside a value.
#[derive(Clone, Debug)]
pub(super) enum Children {
    None,
    Map(Vec<Entry>),
    Seq(Vec<Place>),
}

/// A field: its name, where the name stands, and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_mark: Option<Mark>,
    pub(super) value: Place,
}

impl Place {
    pub(super) fn unknown() -> Self {
        Self { mark: None, children: Children::None }
    }

    pub(super) fn mark(&self) -> Option<Mark> {
        self.mark
    }

    /// The positions of the items of the list at field `name`; endless, so that it can be zipped.
    pub(super) fn into_items(self, name: &str) -> impl Iterator<Item = Place> {
        let list = match self.children {
            Children::Map(entries) => {
                entries.into_iter().find(|e| e.key == name).map(|e| e.value.children)
            }
            Children::None | Children::Seq(_) => None,
        };
        let places = match list {
            Some(Children::Seq(places)) => places,
            _ => Vec::new(),
        };
        places.into_iter().chain(std::iter::repeat_with(Place::unknown))
    }

    /// The value's and the name's position of the deepest existing ancestor of `path`. When the
    /// path leaves the document early, the name's position is that of the ancestor.
    pub(super) fn find(&self, path: &str) -> (Option<Mark>, Option<Mark>) {
        let mut place = self;
        let mut key = None;
        let mut rest = path;
        while !rest.is_empty() {
            let Some((next, next_key, left)) = place.step(rest) else { break };
            key = next_key.or(key);
            place = next;
            rest = left;
        }
        let value = if rest.is_empty() || key.is_none() { place.mark } else { key };
        (value, key)
    }

    /// Takes the first step of `path`. Map keys may hold dots, so the longest known key wins.
    fn step<'p>(&self, path: &'p str) -> Option<(&Place, Option<Mark>, &'p str)> {
        let path = path.strip_prefix('.').unwrap_or(path);
        match &self.children {
            Children::None => None,
            Children::Seq(items) => {
                let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
                let item = items.get(index.parse::<usize>().ok()?)?;
                Some((item, item.mark, rest))
            }
            Children::Map(entries) => {
                let fits = |entry: &&Entry| after_key(path, &entry.key).is_some();
                let entry = entries.iter().filter(fits).max_by_key(|e| e.key.len())?;
                let rest = after_key(path, &entry.key)?;
                Some((&entry.value, entry.key_mark, rest))
            }
        }
    }
}

/// What follows `key` (or `[key]`) at the start of `path`, at a step's boundary.
fn after_key<'p>(path: &'p str, key: &str) -> Option<&'p str> {
    let bracketed = path.strip_prefix('[').and_then(|p| p.strip_prefix(key)?.strip_prefix(']'));
    let plain = || path.strip_prefix(key).filter(|r| r.is_empty() || r.starts_with(['.', '[']));
    bracketed.or_else(plain)
}
