//! Merkle trees as RFC 9162 defines them (2.1), over SHA-256: a head for a list of entries that
//! only ever grows, proofs that an entry is in it, and that one list continues another.
//!
//! A leaf is hashed behind a byte 0, a node behind a byte 1, so that neither passes for the other.
//! The tree of `n` leaves splits at the largest power of two below `n`.

use std::fmt;
use std::str::FromStr;

use super::{Sha256, Sha256Hasher};

/// The hash of an entry of these bytes.
pub fn leaf(entry: &[u8]) -> Sha256 {
    hashed(0, &[entry])
}

/// The hash of the node above these two.
pub fn node(left: &Sha256, right: &Sha256) -> Sha256 {
    hashed(1, &[left.as_bytes(), right.as_bytes()])
}

/// What names a list of entries: how many there are, and the hash at the top of their tree.
/// Written as `SIZE:HASH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// How many entries there are.
    pub size: u64,
    /// The hash at the top; that of nothing where there is no entry.
    pub hash: Sha256,
}

/// A text that is no head.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a tree head: a number, `:` and 64 lower-case hex digits are expected")]
pub struct HeadError(String);

impl Head {
    /// The head of a tree without entries.
    pub fn empty() -> Self {
        Self { size: 0, hash: Sha256::of(b"") }
    }

    /// Whether the entry whose leaf has this hash is the one at `index`, counted from 0, as
    /// `path` claims to prove (RFC 9162, 2.1.3.2).
    pub fn includes(&self, index: u64, leaf: &Sha256, path: &[Sha256]) -> bool {
        if index >= self.size {
            return false;
        }
        let mut climb = Climb { at: index, last: self.size - 1 };
        let mut top = *leaf;
        for beside in path {
            match climb.step() {
                None => return false,
                Some(Side::Left) => top = node(beside, &top),
                Some(Side::Right) => top = node(&top, beside),
            }
        }
        climb.last == 0 && top == self.hash
    }

    /// Whether the list of this head begins with all of the list of `old`, as `path` claims to
    /// prove (RFC 9162, 2.1.4.2). Every list continues the empty one, and itself.
    pub fn continues(&self, old: &Self, path: &[Sha256]) -> bool {
        if old.size == 0 || old.size == self.size {
            let known = if old.size == 0 { Self::empty().hash } else { self.hash };
            return path.is_empty() && old.hash == known;
        }
        if old.size > self.size {
            return false;
        }
        let mut climb = Climb { at: old.size - 1, last: self.size - 1 };
        while climb.at & 1 == 1 {
            climb.up();
        }
        // A whole subtree on the left needs no proof of what it is.
        let (first, rest) = match (old.size.is_power_of_two(), path) {
            (_, []) => return false,
            (true, rest) => (old.hash, rest),
            (false, [first, rest @ ..]) => (*first, rest),
        };
        let (mut before, mut now) = (first, first);
        for beside in rest {
            match climb.step() {
                None => return false,
                Some(Side::Left) => {
                    before = node(beside, &before);
                    now = node(beside, &now);
                }
                Some(Side::Right) => now = node(&now, beside),
            }
        }
        climb.last == 0 && before == old.hash && now == self.hash
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.size, self.hash)
    }
}

impl FromStr for Head {
    type Err = HeadError;

    fn from_str(text: &str) -> Result<Self, HeadError> {
        let read = |(size, hash): (&str, &str)| {
            let plain = size.bytes().all(|byte| byte.is_ascii_digit());
            let size = plain.then(|| size.parse().ok()).flatten()?;
            Some(Self { size, hash: hash.parse().ok()? })
        };
        text.split_once(':').and_then(read).ok_or_else(|| HeadError(text.to_owned()))
    }
}

/// What of a tree it takes to add leaves and to know its head: the tops of its whole subtrees,
/// the largest first, no more than 64.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    tops: Vec<Sha256>,
}

impl Frontier {
    /// That of a tree of `size` leaves, if there are as many tops as such a tree has.
    pub fn new(size: u64, tops: Vec<Sha256>) -> Option<Self> {
        (tops.len() == size.count_ones() as usize).then_some(Self { size, tops })
    }

    /// The tops of the whole subtrees, the largest first.
    pub fn tops(&self) -> &[Sha256] {
        &self.tops
    }

    /// Adds a leaf of this hash.
    pub fn push(&mut self, leaf: Sha256) {
        let whole = self.size.trailing_ones() as usize;
        let below = self.tops.split_off(self.tops.len() - whole);
        self.tops.push(below.iter().rev().fold(leaf, |right, left| node(left, &right)));
        self.size += 1;
    }

    /// The head of the tree.
    pub fn head(&self) -> Head {
        let mut tops = self.tops.iter().rev();
        let Some(last) = tops.next() else { return Head::empty() };
        Head { size: self.size, hash: tops.fold(*last, |right, left| node(left, &right)) }
    }
}

/// A whole tree in memory, which gives proofs.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// The hashes of the leaves, then of the whole subtrees of two, of four, and so on.
    levels: Vec<Vec<Sha256>>,
}

impl Tree {
    /// The tree of leaves of these hashes.
    pub fn new(leaves: Vec<Sha256>) -> Self {
        let mut levels = vec![leaves];
        while let Some(last) = levels.last().filter(|last| last.len() > 1) {
            let above = last.as_chunks().0.iter().map(|[left, right]| node(left, right)).collect();
            levels.push(above);
        }
        Self { levels }
    }

    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// The head that the tree had when it was of `size` leaves; nothing if it never was so large.
    pub fn head(&self, size: u64) -> Option<Head> {
        match size {
            0 => Some(Head::empty()),
            _ if size > self.size() => None,
            _ => Some(Head { size, hash: self.top(0, size) }),
        }
    }

    /// What proves that the leaf at `index` is in the tree of the first `size` leaves (RFC 9162,
    /// 2.1.3.1); nothing if it is not.
    pub fn inclusion(&self, index: u64, size: u64) -> Option<Vec<Sha256>> {
        if index >= size || size > self.size() {
            return None;
        }
        let (mut start, mut end) = (0, size);
        let mut path = Vec::new();
        while end - start > 1 {
            let middle = start + split(end - start);
            if index < middle {
                path.push(self.top(middle, end));
                end = middle;
            } else {
                path.push(self.top(start, middle));
                start = middle;
            }
        }
        path.reverse();
        Some(path)
    }

    /// What proves that the tree of the first `new` leaves continues that of the first `old` (RFC
    /// 9162, 2.1.4.1); nothing if it does not, or there are not so many.
    pub fn consistency(&self, old: u64, new: u64) -> Option<Vec<Sha256>> {
        if old > new || new > self.size() {
            return None;
        }
        let mut path = Vec::new();
        if old == 0 {
            return Some(path);
        }
        let (mut start, mut end) = (0, new);
        while end != old {
            let middle = start + split(end - start);
            if old <= middle {
                path.push(self.top(middle, end));
                end = middle;
            } else {
                path.push(self.top(start, middle));
                start = middle;
            }
        }
        if start > 0 {
            path.push(self.top(start, end));
        }
        path.reverse();
        Some(path)
    }

    /// The hash above the leaves from `start` to before `end`, where `start` is a multiple of the
    /// least power of two that is not below their number.
    fn top(&self, start: u64, end: u64) -> Sha256 {
        let count = end - start;
        if count.is_power_of_two() {
            let level = count.trailing_zeros();
            return self.levels[level as usize][(start >> level) as usize];
        }
        let middle = start + split(count);
        node(&self.top(start, middle), &self.top(middle, end))
    }
}

/// The largest power of two below `count`, which is at least 2.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// On which side of a node another one stands.
enum Side {
    Left,
    Right,
}

/// A way up a tree: where it is on its level, and the last there.
struct Climb {
    at: u64,
    last: u64,
}

impl Climb {
    /// Goes to the next node that is made of two, and says where the other one stands; nothing at
    /// the top.
    fn step(&mut self) -> Option<Side> {
        if self.last == 0 {
            return None;
        }
        let left = self.at & 1 == 1 || self.at == self.last;
        if left {
            while self.at & 1 == 0 && self.at != 0 {
                self.up();
            }
        }
        self.up();
        Some(if left { Side::Left } else { Side::Right })
    }

    fn up(&mut self) {
        self.at >>= 1;
        self.last >>= 1;
    }
}

fn hashed(prefix: u8, parts: &[&[u8]]) -> Sha256 {
    let mut hasher = Sha256Hasher::new();
    hasher.update(&[prefix]);
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: u64 = 70;

    /// The definitions of RFC 9162, word for word.
    mod naive {
        use super::super::{Sha256, leaf, node};

        fn split(count: usize) -> usize {
            (0..).map(|power| 1 << power).take_while(|power| *power < count).last().unwrap_or(1)
        }

        pub fn hash(entries: &[Vec<u8>]) -> Sha256 {
            match entries {
                [] => Sha256::of(b""),
                [entry] => leaf(entry),
                _ => {
                    let (left, right) = entries.split_at(split(entries.len()));
                    node(&hash(left), &hash(right))
                }
            }
        }

        pub fn path(index: usize, entries: &[Vec<u8>]) -> Vec<Sha256> {
            if entries.len() == 1 {
                return Vec::new();
            }
            let middle = split(entries.len());
            let (left, right) = entries.split_at(middle);
            let (mut path, beside) = match index < middle {
                true => (path(index, left), right),
                false => (path(index - middle, right), left),
            };
            path.push(hash(beside));
            path
        }

        pub fn proof(old: usize, entries: &[Vec<u8>], known: bool) -> Vec<Sha256> {
            if old == entries.len() {
                return if known { Vec::new() } else { vec![hash(entries)] };
            }
            let middle = split(entries.len());
            let (left, right) = entries.split_at(middle);
            let (mut proof, beside) = match old <= middle {
                true => (proof(old, left, known), right),
                false => (proof(old - middle, right, false), left),
            };
            proof.push(hash(beside));
            proof
        }
    }

    fn entries() -> Vec<Vec<u8>> {
        (0..LARGEST).map(|number| number.to_string().repeat(number as usize % 5).into()).collect()
    }

    fn tree() -> Tree {
        Tree::new(entries().iter().map(|entry| leaf(entry)).collect())
    }

    /// Everything that differs from `path` in one bit, or by one hash at either end or less.
    fn tampered(path: &[Sha256]) -> impl Iterator<Item = Vec<Sha256>> + '_ {
        let flipped = (0..path.len() * 256).map(|bit| {
            let mut path = path.to_vec();
            let mut bytes = *path[bit / 256].as_bytes();
            bytes[bit % 256 / 8] ^= 1 << (bit % 8);
            path[bit / 256] = Sha256::from_bytes(bytes);
            path
        });
        let other = Sha256::of(b"other");
        let longer = [[path, &[other]].concat(), [&[other], path].concat()];
        let shorter = path.split_last().map(|(_, rest)| rest.to_vec());
        let behind = path.split_first().map(|(_, rest)| rest.to_vec());
        flipped.chain(longer).chain(shorter).chain(behind)
    }

    fn flipped(hash: &Sha256) -> impl Iterator<Item = Sha256> {
        let bytes = *hash.as_bytes();
        (0..256).map(move |bit| {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            Sha256::from_bytes(bytes)
        })
    }

    #[test]
    fn heads_are_those_that_other_logs_have_for_the_same_entries() {
        // The entries and roots that implementations of Certificate Transparency are tested with.
        let entries: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let heads = [
            "0:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "1:6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "2:fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "3:aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "4:d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "5:4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "6:76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "7:ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "8:5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let tree = Tree::new(entries.iter().map(|entry| leaf(entry)).collect());
        for (size, head) in heads.iter().enumerate() {
            let head: Head = head.parse().expect("a head");
            assert_eq!(tree.head(size as u64), Some(head));
        }
    }

    #[test]
    fn a_growing_tree_has_the_heads_of_the_definition() {
        let (entries, tree, mut frontier) = (entries(), tree(), Frontier::default());
        for size in 0..=entries.len() {
            let head = Head { size: size as u64, hash: naive::hash(&entries[..size]) };
            assert_eq!(frontier.head(), head);
            assert_eq!(tree.head(size as u64), Some(head));
            let tops = frontier.tops().to_vec();
            assert_eq!(Frontier::new(size as u64, tops.clone()), Some(frontier.clone()));
            assert_eq!(Frontier::new(size as u64, [&tops[..], &[head.hash]].concat()), None);
            if let Some(entry) = entries.get(size) {
                frontier.push(leaf(entry));
            }
        }
        assert_eq!(tree.head(LARGEST + 1), None);
    }

    #[test]
    fn every_entry_is_proved_and_no_other_in_its_place() {
        let (entries, tree) = (entries(), tree());
        for size in 1..=LARGEST {
            let head = tree.head(size).expect("it was so large");
            for index in 0..size {
                let path = tree.inclusion(index, size).expect("it is in it");
                assert_eq!(path, naive::path(index as usize, &entries[..size as usize]));
                let known = leaf(&entries[index as usize]);
                assert!(head.includes(index, &known, &path), "{index} of {size}");
                let elsewhere = (0..size + 2).filter(|other| *other != index);
                for other in elsewhere {
                    assert!(!head.includes(other, &known, &path), "{index} of {size} at {other}");
                }
            }
            assert_eq!(tree.inclusion(size, size), None);
        }
        assert_eq!(tree.inclusion(0, LARGEST + 1), None);
    }

    #[test]
    fn an_inclusion_proof_with_any_bit_changed_is_refused() {
        let (entries, tree) = (entries(), tree());
        for size in 1..=LARGEST {
            let head = tree.head(size).expect("it was so large");
            for index in [0, size / 3, size - 1] {
                let path = tree.inclusion(index, size).expect("it is in it");
                let known = leaf(&entries[index as usize]);
                assert!(tampered(&path).all(|path| !head.includes(index, &known, &path)));
                assert!(flipped(&known).all(|leaf| !head.includes(index, &leaf, &path)));
                let mut heads = flipped(&head.hash).map(|hash| Head { size, hash });
                assert!(heads.all(|head| !head.includes(index, &known, &path)));
            }
        }
    }

    #[test]
    fn every_longer_list_is_proved_to_continue_every_shorter_one() {
        let (entries, tree) = (entries(), tree());
        for new in 0..=LARGEST {
            let head = tree.head(new).expect("it was so large");
            for old in 0..=new {
                let path = tree.consistency(old, new).expect("it continues it");
                if old > 0 {
                    let expected = naive::proof(old as usize, &entries[..new as usize], true);
                    assert_eq!(path, expected, "{old} to {new}");
                }
                let before = tree.head(old).expect("it was so large");
                assert!(head.continues(&before, &path), "{old} to {new}");
                let backwards = old < new && before.continues(&head, &path);
                assert!(!backwards, "{new} to {old}");
            }
            assert_eq!(tree.consistency(new + 1, new), None);
        }
        assert_eq!(tree.consistency(1, LARGEST + 1), None);
    }

    #[test]
    fn a_consistency_proof_with_any_bit_changed_is_refused() {
        let tree = tree();
        for new in 1..=LARGEST {
            let head = tree.head(new).expect("it was so large");
            for old in [1, new / 3, new / 2, new - 1, new] {
                let path = tree.consistency(old, new).expect("it continues it");
                let before = tree.head(old).expect("it was so large");
                assert!(tampered(&path).all(|path| !head.continues(&before, &path)));
                let mut heads = flipped(&before.hash).map(|hash| Head { size: old, hash });
                assert!(heads.all(|before| !head.continues(&before, &path)), "{old} to {new}");
                let mut heads = flipped(&head.hash).map(|hash| Head { size: new, hash });
                assert!(old == 0 || heads.all(|head| !head.continues(&before, &path)));
            }
        }
    }

    #[test]
    fn heads_read_back_what_they_print_and_nothing_else() {
        let head = tree().head(LARGEST).expect("it is so large");
        assert_eq!(head.to_string().parse(), Ok(head));
        let hash = head.hash.to_string();
        for text in
            ["", "7", &hash, &format!("+7:{hash}"), &format!("7:{hash}0"), &format!(":{hash}")]
        {
            assert!(text.parse::<Head>().is_err(), "{text}");
        }
    }
}
