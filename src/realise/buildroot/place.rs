//! Deciding, in memory, what stands at each path of a layer when its packages are laid over what
//! is below: the rules by which dpkg unpacks, without a system call.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::database::Database;
use super::error::Error;
use super::manifest::{EntryKind, Manifest};
use super::unpacked::What;
use super::{Member, member_title};
use crate::archive::deb::index::MultiArch;

/// What stands at a path of the new layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    /// A folder that only its contents imply.
    Implied,
    /// The item of the package, both by index.
    Item(usize, usize),
    /// The link that merges a top folder into `/usr`.
    Merged(&'static str),
}

/// The layer's own paths.
pub(super) type Placement = BTreeMap<String, Placed>;

/// The result of placing packages.
#[derive(Debug)]
pub(super) struct Laid {
    pub(super) placement: Placement,
    /// Packages, by index, that the root's own dpkg has to unpack.
    pub(super) delegated: BTreeSet<usize>,
}

/// Top folders that merged-usr distributions replace by links, with their targets.
pub(super) const MERGED: [(&str, &str); 7] = [
    ("bin", "usr/bin"),
    ("lib", "usr/lib"),
    ("lib32", "usr/lib32"),
    ("lib64", "usr/lib64"),
    ("libo32", "usr/libo32"),
    ("libx32", "usr/libx32"),
    ("sbin", "usr/sbin"),
];

/// Links are followed this often at most, as the kernel does.
pub(super) const MOST_LINKS: u32 = 40;

/// Places the files of `members`, in their order, over `below`. Those in `delegated` are left to
/// dpkg, and so is every other one whose files meet files of another package that it may replace,
/// a diversion or a statoverride: dpkg knows what to do, and writes down what it did. With
/// `early`, files of delegated packages are placed as well wherever nothing else stands, because
/// dpkg and the scripts need them to run at all.
pub(super) fn place(
    members: &[Member],
    below: &Manifest,
    database: &Database,
    mut delegated: BTreeSet<usize>,
    early: impl Fn(usize) -> bool,
) -> Result<Laid, Error> {
    loop {
        let mut layer = Layer::new(members, below, database);
        if below.entries.is_empty() {
            layer.merge_usr();
        }
        let native = (0..members.len()).filter(|index| !delegated.contains(index));
        let met = native.into_iter().find_map(|index| layer.add(index).transpose());
        match met {
            Some(other) => {
                delegated.insert(other?);
            }
            None => {
                for &index in delegated.iter().filter(|index| early(**index)) {
                    layer.add_where_free(index);
                }
                return Ok(Laid { placement: layer.placement, delegated });
            }
        }
    }
}

struct Layer<'a> {
    members: &'a [Member],
    below: &'a Manifest,
    database: &'a Database,
    placement: Placement,
    /// Folders as packages name them, and where they really are.
    resolved: HashMap<String, String>,
}

/// What there is at a real path.
enum Standing<'a> {
    Nothing,
    Folder,
    Link(&'a str),
    File,
}

impl<'a> Layer<'a> {
    fn new(members: &'a [Member], below: &'a Manifest, database: &'a Database) -> Self {
        let placement = Placement::new();
        Self { members, below, database, placement, resolved: HashMap::new() }
    }

    /// Makes `/bin` and its like links into `/usr` if a package of the layer says that the
    /// distribution is merged: its own tools make these links before anything is unpacked.
    fn merge_usr(&mut self) {
        let merges = |member: &Member| {
            matches!(member.root.package.name.as_str(), "usrmerge" | "usr-is-merged")
        };
        if !self.members.iter().any(merges) {
            return;
        }
        for (name, target) in MERGED {
            let below = format!("{name}/");
            let mut items = self.members.iter().flat_map(|member| &member.unpacked.contents.items);
            if items.any(|item| item.path == name || item.path.starts_with(&below)) {
                self.placement.insert(name.to_owned(), Placed::Merged(target));
                self.imply(target);
            }
        }
    }

    /// Places a package; gives the package that dpkg must unpack instead, if they cannot be
    /// placed together.
    fn add(&mut self, index: usize) -> Result<Option<usize>, Error> {
        let member = &self.members[index];
        for (number, item) in member.unpacked.contents.items.iter().enumerate() {
            if item.path.is_empty() {
                continue;
            }
            if self.database.redirects(&item.path, &member.root.package.name) {
                return Ok(Some(index));
            }
            let path = self.resolve(&item.path);
            let placed = Placed::Item(index, number);
            match (self.standing(&path), &item.what) {
                (Standing::Nothing, _) => {
                    if let Some((above, _)) = path.rsplit_once('/') {
                        self.imply(above);
                    }
                    self.placement.insert(path, placed);
                }
                (Standing::Folder, What::Directory) => {
                    // The first one that ships a folder decides its mode; an implied one has none.
                    if self.placement.get(&path) == Some(&Placed::Implied) {
                        self.placement.insert(path, placed);
                    }
                }
                // dpkg leaves a folder where it is when a package has a link instead.
                (Standing::Folder, What::Link(_)) => {}
                (Standing::Link(_), What::Directory) if self.leads_to_folder(&path) => {}
                (Standing::Folder, What::File { .. }) | (Standing::File | Standing::Link(_), _) => {
                    if let Some(delegate) = self.meet(index, number, &path)? {
                        return Ok(Some(delegate));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Two packages have the same path. Gives the one to be unpacked by dpkg, nothing if the path
    /// is really shared.
    fn meet(&self, index: usize, number: usize, path: &str) -> Result<Option<usize>, Error> {
        let member = &self.members[index];
        let Some(&placed) = self.placement.get(path) else {
            return self.meet_below(index, number, path);
        };
        let conflict = |other: String| {
            Err(Error::Conflict {
                path: path.to_owned(),
                first: other,
                second: member_title(member),
            })
        };
        let Placed::Item(other_index, other_number) = placed else {
            return conflict("the merged /usr".to_owned());
        };
        let other = &self.members[other_index];
        if other_index == index {
            // Two names of one package that the merged /usr makes one: dpkg keeps the later.
            return Ok(Some(index));
        }
        let (here, there) =
            (&member.unpacked.contents.items[number], &other.unpacked.contents.items[other_number]);
        let twins = member.root.package.name == other.root.package.name
            && [member, other].iter().all(|m| m.root.package.multi_arch == MultiArch::Same);
        if twins && here.what == there.what && here.mode == there.mode {
            return Ok(None);
        }
        if replaces(member, other) {
            return Ok(Some(index));
        }
        if replaces(other, member) {
            return Ok(Some(other_index));
        }
        conflict(member_title(other))
    }

    /// The same with a package of a layer below.
    fn meet_below(&self, index: usize, number: usize, path: &str) -> Result<Option<usize>, Error> {
        let member = &self.members[index];
        let item = &member.unpacked.contents.items[number];
        for owner in self.database.owners(&item.path) {
            let same = owner.name == member.root.package.name.as_str();
            if !same && !self.database.replaces(member, owner) {
                return Err(Error::Conflict {
                    path: path.to_owned(),
                    first: owner.name.clone(),
                    second: member_title(member),
                });
            }
        }
        Ok(Some(index))
    }

    /// Places what does not meet anything.
    fn add_where_free(&mut self, index: usize) {
        for (number, item) in self.members[index].unpacked.contents.items.iter().enumerate() {
            if item.path.is_empty() {
                continue;
            }
            let path = self.resolve(&item.path);
            if matches!(self.standing(&path), Standing::Nothing) {
                if let Some((above, _)) = path.rsplit_once('/') {
                    self.imply(above);
                }
                self.placement.insert(path, Placed::Item(index, number));
            }
        }
    }

    /// Makes sure that there are folders down to this one.
    fn imply(&mut self, path: &str) {
        let mut path = path;
        while matches!(self.standing(path), Standing::Nothing) {
            self.placement.insert(path.to_owned(), Placed::Implied);
            match path.rsplit_once('/') {
                Some((above, _)) => path = above,
                None => break,
            }
        }
    }

    fn standing(&self, path: &str) -> Standing<'_> {
        match self.placement.get(path) {
            Some(Placed::Implied) => Standing::Folder,
            Some(Placed::Merged(target)) => Standing::Link(target),
            Some(&Placed::Item(index, number)) => {
                match &self.members[index].unpacked.contents.items[number].what {
                    What::Directory => Standing::Folder,
                    What::Link(target) => Standing::Link(target),
                    What::File { .. } => Standing::File,
                }
            }
            None => match self.below.entries.get(path).map(|entry| &entry.kind) {
                Some(EntryKind::Directory | EntryKind::OpaqueDirectory) => Standing::Folder,
                Some(EntryKind::Link(target)) => Standing::Link(target),
                Some(EntryKind::File { .. }) => Standing::File,
                Some(EntryKind::Whiteout) | None => Standing::Nothing,
            },
        }
    }

    /// Where a path really is: its folders may be links, its last part is taken as it is.
    fn resolve(&mut self, path: &str) -> String {
        let Some((above, name)) = path.rsplit_once('/') else { return path.to_owned() };
        if let Some(known) = self.resolved.get(above) {
            return join(known, name);
        }
        let real = self.follow(above);
        let whole = join(&real, name);
        // A folder never becomes anything else here, so what led to one always will.
        if matches!(self.standing(&real), Standing::Folder) {
            self.resolved.insert(above.to_owned(), real);
        }
        whole
    }

    fn leads_to_folder(&self, path: &str) -> bool {
        matches!(self.standing(&self.follow(path)), Standing::Folder)
    }

    /// Follows every link of a path, inside the root.
    fn follow(&self, path: &str) -> String {
        let mut left: Vec<String> = path.rsplit('/').map(str::to_owned).collect();
        let mut real = String::new();
        let mut links = 0;
        while let Some(part) = left.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    real.truncate(real.rfind('/').unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let next = join(&real, &part);
            match self.standing(&next) {
                Standing::Link(target) if links < MOST_LINKS => {
                    links += 1;
                    if target.starts_with('/') {
                        real.clear();
                    }
                    left.extend(target.rsplit('/').map(str::to_owned));
                }
                _ => real = next,
            }
        }
        real
    }
}

fn join(above: &str, name: &str) -> String {
    if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") }
}

/// Whether `one` says that it may overwrite files of `other` (Debian Policy 7.6.1).
fn replaces(one: &Member, other: &Member) -> bool {
    let Ok(relations) = one.root.package.replaces.get() else { return false };
    let package = &other.root.package;
    relations
        .0
        .iter()
        .flat_map(|alternatives| &alternatives.0)
        .any(|relation| relation.name == package.name && relation.accepts(&package.version))
}
