//! Runs on an engine that does not share our files: everything that a guest is made of is sent
//! there before, and what it wrote comes back.
//!
//! Layers are volumes that stay. The rest has one volume of its own, which is gone with the run.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::container::Container;
use super::layers::{self, Made, TREE};
use super::marks;
use super::places::Places;
use super::site::Site;
use crate::base::Digest;
use crate::sandbox::native::{Order, Stream};
use crate::sandbox::parcel::{self, LONE};
use crate::sandbox::{Error, Keeping, Outcome, Request, Result, Stage, Verdict};

/// Where the volume of a run is mounted.
const CARRIED: &str = "/carried";

/// Bytes of the stream that a file takes beside what it holds.
const HEADERS: u64 = 2048;

/// What of a request was sent to an engine, and what is to come back.
pub struct Carried<'a> {
    /// The lock on the layers, until a container has them.
    layers: Option<File>,
    volume: Made<'a>,
    folders: Vec<String>,
    sent: Vec<(PathBuf, String)>,
    wanted: Vec<Wanted>,
}

/// A tree of the volume that comes back.
struct Wanted {
    from: String,
    to: PathBuf,
    role: Role,
    limits: parcel::Limits,
}

/// What a tree that comes back was to the guest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The layer that was made, whose folder here is empty.
    Layer,
    /// Something that was there before, and may have changed.
    Changed,
    /// What is kept of a guest that failed.
    Kept,
}

impl<'a> Carried<'a> {
    /// Sends the layers that the engine does not have yet, and makes a volume for all the rest.
    /// The order's paths become those of the container, which needs these places.
    pub fn prepare(
        site: &Site<'a>,
        request: &Request,
        order: &mut Order,
        cancel: &AtomicBool,
    ) -> Result<(Places, Self)> {
        let (names, lock) = layers::stored(site, &order.layers, cancel)?;
        let mut places = Places::default();
        for (index, (layer, name)) in order.layers.iter_mut().zip(names).enumerate() {
            let target = format!("/layers/{index}");
            *layer = Path::new(&target).join(TREE);
            places.volume(&name, target, true);
        }
        let volume = Made::new(site, marks::CONTAINER)?;
        places.volume(volume.name(), CARRIED.to_owned(), false);
        let mut carried = Self {
            layers: Some(lock),
            volume,
            folders: Vec::new(),
            sent: Vec::new(),
            wanted: Vec::new(),
        };
        carried.load(request, order)?;
        Ok((places, carried))
    }

    /// Puts everything but layers at a place of the volume.
    fn load(&mut self, request: &Request, order: &mut Order) -> Result<()> {
        let limits = parcel::Limits {
            bytes: whole(request.limits.scratch, request.limits.inodes),
            files: request.limits.inodes,
        };
        for (index, mount) in order.mounts.iter_mut().enumerate() {
            let source = mount.source.clone();
            let is_folder = looked_at(&source)?.is_dir();
            let place = self.send(&source, &format!("m{index}"));
            let place = if is_folder { place } else { format!("{place}/{LONE}") };
            if mount.writable {
                self.want(&place, &source, Role::Changed, limits);
            }
            mount.source = PathBuf::from(place);
        }
        let disk = order.disk.as_mut().map(|disk| {
            let before = disk.clone();
            *disk = PathBuf::from(self.folder("scratch"));
            before
        });
        let mut ours = Vec::new();
        if let Stage::Configure { upper, work } | Stage::Experiment { upper, work } = &request.stage
        {
            self.folder("made");
            let role = match request.stage {
                Stage::Experiment { .. } => Role::Changed,
                _ => Role::Layer,
            };
            let place = self.send(upper.as_path(), "made/upper");
            self.want(&place, upper.as_path(), role, limits);
            let beside = self.folder("made/work");
            let over = order.configure.as_mut().or(order.over.as_mut());
            // The sandbox refuses those that share no folder: it is to see that.
            if let Some(over) = over
                && upper.as_path().parent() == work.as_path().parent()
            {
                *over = (PathBuf::from(place), PathBuf::from(beside));
            }
            ours = vec![upper.as_path(), work.as_path()];
        }
        if let Some(disk) = disk {
            // What a build leaves on scratch is of no use to anybody, but for somebody in it.
            if holds(&disk, &ours)? {
                self.sent.push((disk.clone(), format!("{CARRIED}/scratch")));
                self.want(&format!("{CARRIED}/scratch"), &disk, Role::Changed, limits);
            } else if order.session.is_some() {
                self.want(&format!("{CARRIED}/scratch"), &disk, Role::Changed, limits);
            }
        }
        if let (Some(order), Some(keep)) = (&mut order.keep, &request.keep) {
            let place = self.folder("keep");
            let bytes = whole(keep.bytes, keep.files);
            let limits = parcel::Limits { bytes, files: keep.files.saturating_add(1) };
            self.want(&place, keep.to.as_path(), Role::Kept, limits);
            order.to = PathBuf::from(place);
        }
        Ok(())
    }

    /// Sends the rest to a container that is made, and starts it. Returns its stream, at which
    /// no order was said yet.
    pub fn start(
        &mut self,
        site: &Site<'_>,
        container: &Container<'_>,
        cancel: &AtomicBool,
    ) -> Result<Stream> {
        self.layers = None;
        container.make_folders(CARRIED, &self.folders)?;
        let mut stream = container.start()?;
        for (tree, place) in &self.sent {
            stream.bring(tree, place, cancel).map_err(|error| {
                site.engine.failed(format!("take in `{}`", tree.display()), &error)
            })?;
        }
        Ok(stream)
    }

    /// Brings back what the guest wrote, after its container is gone.
    ///
    /// A layer that is larger than the scratch that was allowed is none: the guest was out of
    /// space. When `cancel` becomes true nothing more is brought but what was here before: it may
    /// be somebody's work.
    pub fn bring_back(
        self,
        site: &Site<'_>,
        outcome: &mut Outcome,
        cancel: &AtomicBool,
    ) -> Result<()> {
        let never = AtomicBool::new(false);
        let is_kept = matches!(outcome.kept, Some(Keeping::Kept { .. }));
        let called_off = cancel.load(Ordering::Relaxed);
        if called_off {
            outcome.verdict = Verdict::Cancelled;
            outcome.kept = outcome.kept.take().map(|_| Keeping::CalledOff);
        }
        let mut wanted = self.wanted.iter().filter(|one| match one.role {
            Role::Changed => true,
            Role::Layer => !called_off,
            Role::Kept => is_kept && !called_off,
        });
        let Some(first) = wanted.next() else { return Ok(()) };
        let mut places = Places::default();
        places.volume(self.volume.name(), CARRIED.to_owned(), false);
        let container = site.container(&places)?;
        let mut stream = container.start()?;
        for Wanted { from, to, role, limits } in std::iter::once(first).chain(wanted) {
            let came = match role {
                Role::Changed => replace(to, |into| stream.fetch(from, into, limits, &never)),
                Role::Layer | Role::Kept => stream.fetch(from, to, limits, cancel).map(drop),
            };
            let Err(error) = came else { continue };
            let too_large = error.kind() == io::ErrorKind::FileTooLarge;
            let called_off = cancel.load(Ordering::Relaxed);
            match role {
                Role::Layer if called_off => outcome.verdict = Verdict::Cancelled,
                Role::Layer if too_large => outcome.verdict = Verdict::OutOfSpace,
                Role::Kept if called_off => outcome.kept = Some(Keeping::CalledOff),
                Role::Kept if too_large => outcome.kept = Some(Keeping::TooLarge),
                Role::Kept => outcome.kept = Some(Keeping::Failed(error.to_string())),
                Role::Layer | Role::Changed => {
                    let operation = format!("give `{}` back", to.display());
                    return Err(site.engine.failed(operation, &error));
                }
            }
            // Half a tree, and a stream that was not read to its end.
            return clear(to).map_err(here(to));
        }
        stream.dismiss();
        // What cannot be removed now is a leftover for the next run.
        let _left = container.remove();
        Ok(())
    }

    /// An empty folder of the volume.
    fn folder(&mut self, name: &str) -> String {
        self.folders.push(name.to_owned());
        format!("{CARRIED}/{name}")
    }

    /// A folder of the volume that becomes this tree.
    fn send(&mut self, tree: &Path, name: &str) -> String {
        let place = self.folder(name);
        self.sent.push((tree.to_owned(), place.clone()));
        place
    }

    fn want(&mut self, from: &str, to: &Path, role: Role, limits: parcel::Limits) {
        self.wanted.push(Wanted { from: from.to_owned(), to: to.to_owned(), role, limits });
    }
}

/// How long the stream of a tree may be that has so many bytes in so many files.
fn whole(bytes: u64, files: u64) -> u64 {
    bytes.saturating_add(files.saturating_mul(HEADERS)).saturating_add(1 << 20)
}

fn looked_at(path: &Path) -> Result<fs::Metadata> {
    fs::symlink_metadata(path).map_err(here(path))
}

fn here(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let operation = format!("use `{}`", path.display());
    move |source| Error::System { operation, source }
}

/// Whether anything lies in a folder besides these.
fn holds(folder: &Path, besides: &[&Path]) -> Result<bool> {
    let mut entries = fs::read_dir(folder).map_err(here(folder))?;
    Ok(entries.any(|entry| entry.is_ok_and(|entry| !besides.contains(&&*entry.path()))))
}

/// Makes a folder or file anew beside where it is, and puts it there when it is whole.
fn replace(place: &Path, make: impl FnOnce(&Path) -> io::Result<Digest>) -> io::Result<()> {
    let parent = place.parent().unwrap_or(place);
    let beside = tempfile::Builder::new().prefix(".back-").tempdir_in(parent)?;
    let (new, old) = (beside.path().join("new"), beside.path().join("old"));
    fs::create_dir(&new)?;
    let status = fs::symlink_metadata(place)?;
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&new, Some(status.uid()), Some(status.gid()))?;
    }
    let made = make(&new).and_then(|_| {
        if !status.is_dir() {
            return fs::rename(new.join(LONE), place);
        }
        // A folder that cannot be written cannot be moved to another one.
        let mode = fs::metadata(&new)?.permissions();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o700))?;
        fs::set_permissions(place, fs::Permissions::from_mode(0o700))?;
        fs::rename(place, &old)?;
        fs::rename(&new, place)?;
        fs::set_permissions(place, mode)
    });
    for rest in [&new, &old] {
        if rest.exists() {
            clear(rest)?;
        }
    }
    made
}

/// Removes everything in a folder, whatever modes it has.
fn clear(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            clear(&entry.path())?;
            fs::remove_dir(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
