//! Marks on what is made on engines: whose it is, and whether that program still runs.
//!
//! Whoever makes containers holds a lock on a file of its own in the home folder; the lock ends
//! with the process, however that dies. So what was made under a mark whose file nobody holds is
//! a leftover, and anything without our mark is somebody else's.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::base::{Digest, HostPath};

/// What it is: `run`, `layer` or `image`.
pub const KIND: &str = "perestroika";

/// A container, and what is removed with it.
pub const CONTAINER: &str = "run";

/// A volume that holds a layer, and the one whose name says so; both are kept for later runs.
pub const LAYER: &str = "layer";

/// Of the latter: the name of the former, which is whole.
pub const HELD: &str = "perestroika.layer";

/// The home that it belongs to.
pub const HOME: &str = "perestroika.home";

/// The run that made it.
pub const RUN: &str = "perestroika.run";

/// The folder of the home that marks are kept in.
pub const FOLDER: &str = "engines";

/// The name of the home, made once.
const NAME: &str = "name";

/// How often it is looked whether a lock is free.
const PAUSE: Duration = Duration::from_millis(10);

/// With whom a lock is held.
#[derive(Clone, Copy)]
pub enum Shared {
    /// With everybody who also only looks.
    WithOthers,
    /// With nobody.
    WithNobody,
}

/// The marks of this program.
pub struct Marks {
    folder: HostPath,
    home: String,
    run: String,
    /// Locked as long as this program runs.
    _held: File,
}

impl Marks {
    /// Marks for a home, an existing folder that can be written.
    pub fn new(home: &HostPath) -> io::Result<Self> {
        let folder = home.join(FOLDER);
        fs::create_dir_all(folder.as_path())?;
        let home = name(&folder)?;
        let run = random()?;
        // Locked before it has its name: whoever tidies up finds no mark that nobody holds.
        let made = tempfile::NamedTempFile::new_in(folder.as_path())?;
        rustix::fs::flock(made.as_file(), FlockOperation::NonBlockingLockExclusive)?;
        let held = made.persist_noclobber(folder.join(&run).as_path()).map_err(|e| e.error)?;
        Ok(Self { folder, home, run, _held: held })
    }

    /// The folder that they are kept in.
    pub fn folder(&self) -> &HostPath {
        &self.folder
    }

    /// Whether what has these labels belongs to this home.
    pub fn is_ours(&self, labels: &HashMap<String, String>) -> bool {
        labels.get(HOME) == Some(&self.home)
    }

    /// The labels of what this run makes.
    pub fn labels(&self, kind: &str) -> HashMap<String, String> {
        [(KIND, kind), (HOME, &self.home), (RUN, &self.run)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    /// The filter that finds what is of this home, in the form of the API.
    pub fn ours(&self) -> HashMap<String, Vec<String>> {
        HashMap::from([("label".to_owned(), vec![format!("{HOME}={}", self.home)])])
    }

    /// What a volume is called that says where this layer is, as it belongs to this id.
    pub fn layer(&self, digest: &Digest, uid: u32) -> String {
        format!("perestroika-{:.12}-{digest}-{uid}", self.home)
    }

    /// A lock on what all runs of this home share, until the file is dropped; none if somebody
    /// has it who does not share it.
    pub fn try_lock(&self, name: &str, shared: Shared) -> io::Result<Option<File>> {
        let path = self.folder.join(format!("{name}.lock"));
        let file = File::options().create(true).append(true).open(path.as_path())?;
        let operation = match shared {
            Shared::WithOthers => FlockOperation::NonBlockingLockShared,
            Shared::WithNobody => FlockOperation::NonBlockingLockExclusive,
        };
        match rustix::fs::flock(&file, operation) {
            Ok(()) => Ok(Some(file)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The same, as soon as it can be had. An error when `cancel` becomes true.
    pub fn lock(&self, name: &str, shared: Shared, cancel: &AtomicBool) -> io::Result<File> {
        loop {
            if let Some(file) = self.try_lock(name, shared)? {
                return Ok(file);
            }
            if cancel.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Whether what has these labels was left by a run that is over.
    pub fn is_left(&self, labels: &HashMap<String, String>) -> bool {
        if !self.is_ours(labels) {
            return false;
        }
        let Some(run) = labels.get(RUN).filter(|run| is_name(run)) else { return false };
        if *run == self.run {
            return false;
        }
        match File::open(self.folder.join(run).as_path()) {
            // A shared lock can be had when nobody holds the other one.
            Ok(file) => rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_ok(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Notes that this home had an image brought to an engine. Without the note the image stays
    /// there for good, which harms nobody.
    pub fn brought(&self, image: &str) {
        let _noted = fs::write(self.image(image).as_path(), "");
    }

    /// Whether this home had an image brought to an engine.
    pub fn has_brought(&self, image: &str) -> bool {
        self.image(image).as_path().exists()
    }

    fn image(&self, id: &str) -> HostPath {
        let plain: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
        self.folder.join(format!("image-{plain}"))
    }

    /// Removes the marks of runs that are over, after what they left was removed.
    pub fn tidy(&self) {
        for entry in fs::read_dir(self.folder.as_path()).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            if !is_name(&name) || name == self.run {
                continue;
            }
            let locked = File::open(entry.path()).is_ok_and(|file| {
                rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_err()
            });
            if !locked {
                let _gone = fs::remove_file(entry.path());
            }
        }
    }
}

impl Drop for Marks {
    fn drop(&mut self) {
        let _gone = fs::remove_file(self.folder.join(&self.run).as_path());
    }
}

/// The name of the home; whoever comes first gives it.
fn name(folder: &HostPath) -> io::Result<String> {
    let path = folder.join(NAME);
    loop {
        match fs::read_to_string(path.as_path()) {
            Ok(name) if is_name(&name) => return Ok(name),
            Ok(_) => fs::remove_file(path.as_path())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut file = tempfile::NamedTempFile::new_in(folder.as_path())?;
        file.write_all(random()?.as_bytes())?;
        match file.persist_noclobber(path.as_path()) {
            Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error.error);
            }
            _ => {}
        }
    }
}

/// A name that nobody else has.
pub fn random() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn is_name(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::Marks;
    use crate::base::HostPath;

    #[test]
    fn what_a_living_run_made_is_not_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = HostPath::new(folder.path());
        let ours = Marks::new(&home).expect("marks");
        let others = Marks::new(&home).expect("marks");
        let labels = others.labels("run");
        assert!(!ours.is_left(&ours.labels("run")));
        assert!(!ours.is_left(&labels));
        drop(others);
        assert!(ours.is_left(&labels));
        ours.tidy();
        assert!(ours.is_left(&labels));
    }

    #[test]
    fn what_has_another_mark_is_never_left() {
        let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("one")];
        let [ours, others] =
            folders.each_ref().map(|folder| Marks::new(&HostPath::new(folder.path())));
        let (ours, others) = (ours.expect("marks"), others.expect("marks"));
        let mut labels = others.labels("run");
        drop(others);
        assert!(!ours.is_left(&labels));
        assert!(!ours.is_left(&Default::default()));
        labels.insert(super::RUN.into(), "../name".into());
        labels.extend(ours.labels("run").into_iter().filter(|(name, _)| name == super::HOME));
        assert!(!ours.is_left(&labels));
    }
}
