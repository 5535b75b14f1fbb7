//! The image that containers are made of: this one static program and nothing else.
//!
//! It is made here, byte for byte the same from the same program, and loaded into an engine as
//! `docker save` would have written it (Docker Image Specification 1.2, section "Combined Image
//! JSON + Filesystem Changeset Format"). No registry takes part.

use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error as EngineError;
use bollard::query_parameters::{ImportImageOptions, ListImagesOptionsBuilder};
use futures_util::TryStreamExt;

use crate::base::{Digest, HostPath, Json, Sha256, Sha256Hasher};
use crate::sandbox::{Error, Result};

/// Where the program lies in a container.
pub const PROGRAM: &str = "/perestroika";

/// The label of every image of ours; its value is the layout that [`Image`] describes.
pub const LABEL: &str = "perestroika.tool";

/// Raised when the same program would give another layer.
const LAYOUT: &str = "1";

/// Part of every image name of ours.
const REPOSITORY: &str = "perestroika/tool";

/// How long an engine may take to load an image: it may be far away.
const LOADING: Duration = Duration::from_mins(30);

/// How much of the program is in memory at once.
const PIECE: u64 = 1 << 18;

/// The unit of tar files, and the two empty ones at their end (POSIX.1-2017, `pax`).
const BLOCK: u64 = 512;
const END: usize = 2 * BLOCK as usize;

/// An image with this program, named by its content.
#[derive(Debug, Clone)]
pub struct Image {
    program: Arc<File>,
    size: u64,
    architecture: &'static str,
    layer: Sha256,
}

impl Image {
    /// The image that holds the program at `path`, which stays open: what is loaded later is what was named
    /// here, even if another version of the program takes its place meanwhile.
    ///
    /// Its digest is remembered in the folder `memory`, which is made if need be, so that the
    /// program is not read at every start (half a second for 170 MB where the processor has no
    /// instructions for SHA-256). Device, inode, size and both times tell whether it still is the
    /// same file; if that ever erred, engines would refuse the image, as they check the digest.
    ///
    /// # Errors
    /// A program that cannot be read, that needs a loader, or that is for another kind of machine.
    pub fn of(path: &HostPath, memory: &HostPath) -> Result<Self> {
        let reading = |source| Error::System { operation: format!("read `{path}`"), source };
        let file = File::open(path).map_err(reading)?;
        let about = file.metadata().map_err(reading)?;
        let architecture = architecture(&file).map_err(|source| Error::Isolation {
            operation: format!("put `{path}` into a container"),
            source,
            remedy: "build it as one static program: `cargo build --release` in the folder of its \
                     sources does"
                .into(),
        })?;
        let (program, size) = (Arc::new(file), about.len());
        let memo = Memo::new(memory, path, &about);
        let layer = match memo.read() {
            Some(layer) => layer,
            None => {
                let mut hasher = Sha256Hasher::new();
                for piece in layer(&program, size) {
                    hasher.update(&piece.map_err(reading)?);
                }
                let layer = hasher.finish();
                // Else the next start reads the program again, which only takes longer.
                let _ = memo.write(layer);
                layer
            }
        };
        Ok(Self { program, size, architecture, layer })
    }

    /// The id that engines give it: `sha256:` and the digest of its configuration.
    pub fn id(&self) -> String {
        format!("sha256:{}", self.digest())
    }

    /// The name that engines list it by: it ends in the first 16 digits of the id.
    pub fn name(&self) -> String {
        format!("{REPOSITORY}:{:.16}", self.digest().to_string())
    }

    /// What this engine calls the image, which it has afterwards; it is loaded if need be. Any
    /// number of programs may do so at once.
    ///
    /// # Errors
    /// Whatever the engine answers, and an engine that shows another image than it was given.
    pub async fn ensure(&self, client: &Docker) -> std::result::Result<String, EngineError> {
        if let Some(id) = self.find(client).await? {
            return Ok(id);
        }
        let patient = client.clone().with_timeout(LOADING);
        let archive = futures_util::stream::iter(
            self.archive().map(|piece| piece.map(Into::into).map_err(Box::new)),
        );
        let options = ImportImageOptions { quiet: true, ..Default::default() };
        let answers = patient.import_image_stream(options, archive, None);
        answers.try_for_each(|_| std::future::ready(Ok(()))).await?;
        self.find(client).await?.ok_or_else(|| EngineError::DockerStreamError {
            error: format!("loaded the image `{}` and does not have it", self.name()),
        })
    }

    /// What the engine calls this image, if it has it. Engines that keep images as a registry
    /// would name them by another digest; then the name leads to it, and the layer proves it.
    async fn find(&self, client: &Docker) -> std::result::Result<Option<String>, EngineError> {
        let layers = [format!("sha256:{}", self.layer)];
        for reference in [self.id(), self.name()] {
            match client.inspect_image(&reference).await {
                Ok(image) => {
                    let found = image.root_fs.and_then(|files| files.layers);
                    if found.as_deref() == Some(&layers) {
                        return Ok(image.id);
                    }
                }
                Err(EngineError::DockerResponseServerError { status_code: 404, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn digest(&self) -> Sha256 {
        Sha256::of(&self.configuration())
    }

    /// The image JSON. Fields that depend on when or where it was made are fixed or left out.
    fn configuration(&self) -> Vec<u8> {
        Json::object([
            ("architecture", self.architecture.into()),
            ("config", Json::object([("Labels", Json::object([(LABEL, LAYOUT.into())]))])),
            ("created", "1970-01-01T00:00:00Z".into()),
            ("os", "linux".into()),
            (
                "rootfs",
                Json::object([
                    ("diff_ids", Json::array([format!("sha256:{}", self.layer)])),
                    ("type", "layers".into()),
                ]),
            ),
        ])
        .encode()
    }

    /// The file that engines load, piece by piece.
    fn archive(&self) -> impl Iterator<Item = io::Result<Vec<u8>>> + Send + 'static {
        let configuration = self.configuration();
        let name = format!("{}.json", self.digest());
        let manifest = Json::array([Json::object([
            ("Config", name.as_str().into()),
            ("Layers", Json::array(["layer.tar"])),
            ("RepoTags", Json::array([self.name()])),
        ])]);
        let mut head = Vec::new();
        for (name, content) in [("manifest.json", &manifest.encode()), (&name, &configuration)] {
            let size = content.len() as u64;
            head.extend(header(name, 0o444, size));
            head.extend(content);
            head.extend(padding(size));
        }
        let size = BLOCK + self.size.next_multiple_of(BLOCK) + END as u64;
        head.extend(header("layer.tar", 0o444, size));
        let layer = layer(&self.program, self.size);
        [Ok(head)].into_iter().chain(layer).chain([Ok(vec![0; END])])
    }
}

/// The ids of the images of ours that an engine has beside `keep`: of other versions of this
/// program. Those of running containers are among them; engines refuse to remove them.
pub async fn outdated(
    client: &Docker,
    keep: &str,
) -> std::result::Result<Vec<String>, EngineError> {
    let filters = [("label".to_owned(), vec![LABEL.to_owned()])].into_iter().collect();
    let options = ListImagesOptionsBuilder::default().filters(&filters).build();
    let images = client.list_images(Some(options)).await?;
    Ok(images.into_iter().map(|image| image.id).filter(|id| id != keep).collect())
}

/// The only layer: one file, owned by root, that everybody may run and nobody may change.
fn layer(
    program: &Arc<File>,
    size: u64,
) -> impl Iterator<Item = io::Result<Vec<u8>>> + Send + 'static {
    let program = Arc::clone(program);
    let head = header(PROGRAM.trim_start_matches('/'), 0o555, size);
    let pieces = (0..size).step_by(PIECE as usize).map(move |from| {
        let mut piece = vec![0; PIECE.min(size - from) as usize];
        program.read_exact_at(&mut piece, from)?;
        Ok(piece)
    });
    let mut tail = padding(size);
    tail.resize(tail.len() + END, 0);
    [Ok(head)].into_iter().chain(pieces).chain([Ok(tail)])
}

/// The block that announces a file of a tar file, with owners and times of zero.
fn header(name: &str, mode: u32, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// What follows a file of this size up to the next block.
fn padding(size: u64) -> Vec<u8> {
    vec![0; (size.next_multiple_of(BLOCK) - size) as usize]
}

/// What machine a static program is for, in the words of image configurations (those of Go). Fails
/// if it is none: not ELF, or with an interpreter, which is what loads a dynamic one (System V
/// gABI, chapters 4 and 5).
fn architecture(program: &File) -> io::Result<&'static str> {
    const CLASS_64_LITTLE: [u8; 6] = *b"\x7fELF\x02\x01";
    const INTERPRETER: u32 = 3;
    let wrong = |reason: String| Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    let mut start = [0; 64];
    let read = program.read_exact_at(&mut start, 0);
    if read.is_err() || !start.starts_with(&CLASS_64_LITTLE) {
        return wrong("it is no ELF program of 64 bits, little-endian".into());
    }
    let architecture = match half(&start, 18) {
        62 => "amd64",
        183 => "arm64",
        243 => "riscv64",
        other => return wrong(format!("its machine is number {other} of ELF, which is not known")),
    };
    let table = u64::from_le_bytes(std::array::from_fn(|index| start[32 + index]));
    let (size, count) = (half(&start, 54), half(&start, 56));
    for index in 0..u64::from(count) {
        let mut kind = [0; 4];
        let place = table.checked_add(index * u64::from(size));
        let read = place.map(|place| program.read_exact_at(&mut kind, place));
        if !matches!(read, Some(Ok(()))) {
            return wrong("its table of segments lies beyond its end".into());
        }
        if u32::from_le_bytes(kind) == INTERPRETER {
            return wrong("it is linked dynamically: it needs a loader and libraries".into());
        }
    }
    Ok(architecture)
}

/// The 16-bit number at this place of the first bytes of an ELF file.
fn half(start: &[u8; 64], place: usize) -> u16 {
    u16::from_le_bytes([start[place], start[place + 1]])
}

/// What is remembered of a program: the digest of its layer, as long as it is the same file.
struct Memo {
    folder: HostPath,
    file: HostPath,
    state: String,
}

impl Memo {
    fn new(folder: &HostPath, program: &HostPath, about: &Metadata) -> Self {
        let path = program.as_path().as_os_str().as_encoded_bytes();
        let file = folder.join(format!("image-{:.16}", Digest::of(path).to_string()));
        let modified = format!("{}.{:09}", about.mtime(), about.mtime_nsec());
        let changed = format!("{}.{:09}", about.ctime(), about.ctime_nsec());
        let (device, inode, size) = (about.dev(), about.ino(), about.len());
        let state = format!("{LAYOUT} {device} {inode} {size} {modified} {changed}");
        Self { folder: folder.clone(), file, state }
    }

    fn read(&self) -> Option<Sha256> {
        let text = std::fs::read_to_string(&self.file).ok()?;
        let (state, layer) = text.split_once('\n')?;
        if state == self.state { layer.parse().ok() } else { None }
    }

    fn write(&self, layer: Sha256) -> io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        write!(file, "{}\n{layer}", self.state)?;
        file.persist(&self.file).map_err(|error| error.error)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
