//! What builds, and what looks at builds, can be asked for.

use std::path::PathBuf;

use clap::Args;

use super::{RequiredLimits, Words};

#[derive(Debug, Args)]
pub struct Build {
    #[command(flatten)]
    pub words: Words,
    /// How many packages are built at once [default: 2, or 1 on one core]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub jobs: Option<u32>,
    /// How many cores one build may use [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub cores: Option<u32>,
    /// Stop at the first failure
    #[arg(long)]
    pub fail_fast: bool,
    /// Where packages are copied to [default: RELEASE/out]
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Build nothing unless the kernel's control groups hold builds to their limits
    #[arg(long, value_enum, value_name = "WHAT")]
    pub require_limits: Option<RequiredLimits>,
    /// Record which files of which build dependencies are read, for `audit inputs`
    #[arg(long)]
    pub trace: bool,
    /// Build what a suite that the release publishes to has had a newer version of, too
    #[arg(long)]
    pub allow_downgrade: bool,
    /// Only print what would be built, and why
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Reproduce {
    #[command(flatten)]
    pub words: Words,
    /// How many packages are built at once [default: 2, or 1 on one core]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub jobs: Option<u32>,
    /// How many cores one build may use [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub cores: Option<u32>,
    /// Stop at the first package that cannot be built
    #[arg(long)]
    pub fail_fast: bool,
    /// Build nothing unless the kernel's control groups hold builds to their limits
    #[arg(long, value_enum, value_name = "WHAT")]
    pub require_limits: Option<RequiredLimits>,
    /// Change its circumstances too, all of them or these, and name the cause of what differs:
    /// host-name, user-name, build-path, time, locale, time-zone, umask, processors, file-order,
    /// kernel
    #[arg(
        long,
        value_name = "WHAT",
        num_args = 0..=1,
        require_equals = true,
        value_delimiter = ',',
        default_missing_value = "all",
        hide_possible_values = true,
        value_parser = [
            "all", "host-name", "user-name", "build-path", "time", "locale", "time-zone", "umask",
            "processors", "file-order", "kernel",
        ]
    )]
    pub vary: Vec<String>,
    /// One package after the other, at low priority, what waited longest first; not what was
    /// never built
    #[arg(long, conflicts_with_all = ["jobs", "dry_run", "show"])]
    pub queue: bool,
    /// With --queue: build nothing, say how each package stands
    #[arg(long, requires = "queue")]
    pub status: bool,
    /// Build what these are of, with exactly the versions that they list in its root, and hold what
    /// comes of it against their checksums: a `.buildinfo`, or a folder of them. Their signatures
    /// are not checked
    #[arg(
        long,
        value_name = "FILE|DIR",
        conflicts_with_all = ["vary", "queue", "fixpoint", "show", "dry_run"]
    )]
    pub buildinfo: Vec<PathBuf>,
    /// Round after round, each built on what the one before left, until one comes out as the one
    /// before; PKG: these, what they need, and what they take from the seed
    #[arg(long, conflicts_with_all = ["vary", "queue", "show"])]
    pub fixpoint: bool,
    /// With --fixpoint: so many rounds at most [default: 8]
    #[arg(
        long,
        value_name = "N",
        requires = "fixpoint",
        value_parser = clap::value_parser!(u32).range(2..=1000)
    )]
    pub rounds: Option<u32>,
    /// Build nothing: show what was found when it was last built again
    #[arg(long, conflicts_with = "dry_run")]
    pub show: bool,
    /// Of a bundle: the key that must have signed it, as a file or its fingerprint
    #[arg(long, value_name = "FILE|FINGERPRINT")]
    pub key: Option<String>,
    /// Only print what would be built again
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Log {
    #[command(flatten)]
    pub words: Words,
    /// Which attempt, counted from the oldest; the newest by default
    #[arg(long, value_name = "N")]
    pub attempt: Option<u64>,
    /// Go on printing until the attempt has ended, whoever runs it
    #[arg(short, long)]
    pub follow: bool,
}

#[derive(Debug, Args)]
pub struct Enter {
    #[command(flatten)]
    pub words: Words,
    /// Before the build: sources prepared, nothing run
    #[arg(long, conflicts_with_all = ["installed", "attempt"])]
    pub fresh: bool,
    /// A clean root with the package's own new binary packages installed
    #[arg(long, conflicts_with = "attempt")]
    pub installed: bool,
    /// Put an overlay over the read-only root, for experiments
    #[arg(long)]
    pub writable: bool,
    /// Of which attempt, counted from the oldest; the newest that is kept by default
    #[arg(long, value_name = "N")]
    pub attempt: Option<u64>,
    /// Run this instead of a shell, with this program's own standard streams
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Patch {
    /// A package, and the name of the new patch; and a release folder
    #[arg(value_name = "RELEASE|PKG|NAME", required = true)]
    pub words: Vec<String>,
    /// Take a new file in, by its path from the source folder
    #[arg(long, value_name = "PATH")]
    pub new: Vec<String>,
    /// Take nothing but this file, or the files of this folder
    #[arg(long, value_name = "PATH")]
    pub only: Vec<String>,
    /// Only print the patch
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}
