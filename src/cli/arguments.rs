//! What can be asked for.

mod audit;
mod bundle;
mod key;
mod publish;
mod repo;
mod serve;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use audit::{Audit, AuditArchive, AuditCommand, AuditHistory, AuditProvenance, AuditQuorum};
pub use bundle::{Bundle, BundleCreate, BundleImport, BundleVerify};
pub use key::{Key, KeyAlgorithm, KeyCheck, KeyNew};
pub use publish::{Downgrade, Place, Publish};
pub use repo::{
    Repo, RepoAdopt, RepoDiff, RepoFolder, RepoList, RepoPromote, RepoPrune, RepoPush, RepoRefresh,
    RepoRollback, RepoShow, RepoWithdraw,
};
pub use serve::{Serve, ServeRepo, ServeStore};

/// Builds and rebuilds whole releases of native Linux packages, provably.
#[derive(Debug, Parser)]
#[command(
    name = "perestroika",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Example:\n  perestroika build specs/demo\n\n\
                  RELEASE is `.` or contains `/`; any other word is a package. The default is the\n\
                  nearest parent folder with a release.toml.\n\n\
                  Exit code: 0 done; 1 a build or check failed, or something is stale or differs;\n\
                  2 wrong input; 3 the machine failed; 130 interrupted."
)]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command understands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// Print one JSON document on standard output, also on failure
    #[arg(long, global = true)]
    pub json: bool,
    /// How progress is shown on standard error
    #[arg(long, global = true, value_enum, default_value_t = ProgressKind::Auto, value_name = "KIND")]
    pub progress: ProgressKind,
    /// The store [default: $XDG_DATA_HOME/perestroika]
    #[arg(long, global = true, env = "PERESTROIKA_STORE", value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Fetch this archive from here
    #[arg(long, global = true, value_name = "ARCHIVE=URL", value_parser = mirror)]
    pub mirror: Vec<(String, String)>,
    /// Fetch nothing
    #[arg(long, global = true)]
    pub offline: bool,
    /// Print only what failed
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print the builds' own output too
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    pub color: Colour,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressKind {
    /// Bars on a terminal; plain lines elsewhere, and where the variable CI is set
    Auto,
    /// Bars
    Bar,
    /// A line for every step, and one when nothing happens for half a minute
    Plain,
    /// A JSON document per line for every step; with `--json`, nothing but those
    Json,
    /// Nothing
    None,
}

/// What must hold builds to their limits; so it is called in the user's config.toml too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RequiredLimits {
    /// A control group
    Cgroup,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a release that builds, in a new folder: keyring, first package, pins
    #[command(after_help = "Example:\n  perestroika init my-release --archive trixie\n\n\
                            It writes below DIR only, and only if DIR is new or empty: removing \
                            DIR undoes it.")]
    Init(Init),
    /// Write a spec for a folder, a URL or a package of the archive, and pin it
    #[command(after_help = "Examples:\n  perestroika add zlib\n  \
                            perestroika add specs/demo ../my-project --copy\n  \
                            perestroika add https://git.example.org/greet.git --rev v1.2\n\n\
                            RELEASE is a folder with a release.toml. What the source says of itself \n\
                            and what is only a guess is told apart; nothing is overwritten.")]
    Add(Add),
    /// Check all that can be known without building: specs, pins, build roots, cycles, closure
    #[command(after_help = "Example:\n  perestroika check specs/demo libxslt\n\n\
                            Exit code: 1 if anything is wrong, 3 if something could not be checked.")]
    Check(Check),
    /// Print the graph of a release; of packages, every field and where it came from
    #[command(after_help = "Examples:\n  perestroika eval specs/demo --tree\n  \
                            perestroika eval specs/demo greet\n  \
                            perestroika eval specs/demo --dot | dot -Tsvg > demo.svg\n  \
                            perestroika eval specs/demo -e 'release.version'")]
    Eval(Eval),
    /// Lay out spec files: white space alone changes, never what they mean
    #[command(after_help = "Examples:\n  \
                            perestroika fmt\n  \
                            perestroika fmt --check specs/demo packages/nova.rhai\n\n\
                            What its author broke over several lines stays broken; what is wider\n\
                            than 100 columns gets broken. Comments and strings stay as they are.")]
    Fmt(Fmt),
    /// Help an editor with spec files: a language server on standard input and output
    #[command(after_help = "Example, in Neovim:\n  \
                            vim.lsp.start({ name = \"perestroika\", cmd = { \"perestroika\", \"lsp\" } })\n\n\
                            It tells what is wrong while you type, completes fields, functions and\n\
                            package names, and finds documentation and definitions. Names of the\n\
                            archive come from the store, never from the network.")]
    Lsp,
    /// Pin what is new: archives, sources, stdlib; never moves a pin
    #[command(after_help = "Example:\n  perestroika lock specs/demo --check")]
    Lock(Lock),
    /// Move pins: of archives, sources, or `stdlib`; without names, all but files at URLs
    #[command(after_help = "Example:\n  perestroika update specs/demo bookworm -n\n\n\
                            Where an archive moves, every build root is solved against the old and \
                            the new indexes:\nit tells which of its packages change, what is \
                            rebuilt because of each, and how long\nthat takes.")]
    Update(Update),
    /// Build a release, or some of its packages and what they need
    #[command(
        args_override_self = true,
        after_help = "Examples:\n  perestroika build specs/demo libxslt -j 2\n  \
                            perestroika build specs/demo -n\n  \
                            perestroika build specs/demo specs/single\n\n\
                            Packages are copied to RELEASE/out, beside MANIFEST.json. Several releases \
                            share the machine\nevenly, in one run and in several: all builds on one \
                            store together are as many as\nthe largest --jobs of them allows.\n\n\
                            With --trace, a package that was built without is built again: the \
                            first build stays\nwhat counts, the second is compared with it, and \
                            exit code 1 tells that they differ.\nBuilds cannot tell that they are \
                            traced; it costs a fraction of\na second each."
    )]
    Build(Build),
    /// Show on one screen how a release stands: pins, packages, last builds
    #[command(after_help = "Examples:\n  perestroika status specs/demo\n  \
                            perestroika status specs/demo specs/single\n\n\
                            Exit code: 0 if every package is built as the release is now; 1 if one \n\
                            is stale, its last build failed, or its builds differ.")]
    Status(Status),
    /// List the attempts at building, or print the log of a package's build
    #[command(after_help = "Examples:\n  perestroika log specs/demo greet\n  \
                            perestroika log specs/demo greet --attempt 3\n  \
                            perestroika log specs/demo greet --follow")]
    Log(Log),
    /// Go into the sandbox of a package's failed build, exactly as it was left
    #[command(after_help = "Examples:\n  perestroika shell specs/demo greet\n  \
                            perestroika shell specs/demo greet -- make check\n  \
                            perestroika shell specs/demo greet --fresh\n  \
                            perestroika shell specs/demo greet --installed -- greet --version\n\n\
                            It has the layers, files, environment and id of the build, and no \
                            network. What is\nchanged in the sandbox of a failed build stays for \
                            the next `shell` and for `patch`.\nThe exit code is that of CMD.")]
    Shell(Enter),
    /// Write what was changed in the sandbox of a failed build as a patch, and name it in the spec
    #[command(after_help = "Examples:\n  perestroika patch specs/demo greet fix-build.patch\n  \
                            perestroika patch specs/demo greet rules.patch --only debian\n\n\
                            The patch is `patches/PKG/NAME` of the release. What the build made or \
                            changed is no part\nof it; new files are, where `--new` names them.")]
    Patch(Patch),
    /// Build again from recorded inputs, and compare; nothing of it is used by any build
    #[command(
        args_override_self = true,
        after_help = "Examples:\n  perestroika reproduce specs/demo\n  \
                            perestroika reproduce specs/demo libxslt -n\n  \
                            perestroika reproduce specs/demo libxslt --show\n  \
                            perestroika reproduce specs/demo greet --vary\n  \
                            perestroika reproduce specs/demo greet --vary=time,host-name\n  \
                            perestroika reproduce specs/demo --queue\n  \
                            perestroika reproduce specs/demo --queue --status\n  \
                            perestroika reproduce demo.perestroika --key builder.pub\n  \
                            perestroika reproduce specs/demo --buildinfo catdoc_0.95.buildinfo\n  \
                            perestroika reproduce specs/demo --fixpoint\n\n\
                            A package that was never built is built first, as `build` does it, and \
                            then again. What\ndiffers is told in layers: members of archives, control \
                            fields, files. It stays in the store\nuntil the package is built again \
                            once more.\n\n\
                            --vary builds it once with everything changed that can be; what \
                            differs then is traced to its\ncause by halves. What cannot be changed \
                            is said to be `not varied`, with the reason.\n\n\
                            A bundle is brought into a temporary store, and each of its packages \
                            built from what its\nrecord lists, without any network; then its \
                            closure is certified anew.\n\n\
                            --queue goes through the release once. Interrupted, it goes on where \
                            it was the next time.\n\n\
                            --fixpoint: round 1 is the release as `build` makes it. In every later \
                            round the packages\nof the one before take the place of the archive's in \
                            all build roots, their bases too. What\nhas the same in its build root as \
                            in the round before is not built again. The builds of rounds\nare kept as \
                            long as the release is, so that an interrupted run goes on where it was.\n\n\
                            Exit code: 1 if anything differs, fails or never settles."
    )]
    Reproduce(Reproduce),
    /// Say why packages were or would be rebuilt, and how one comes to need another
    #[command(after_help = "Examples:\n  perestroika why specs/demo\n  \
                            perestroika why specs/demo greet\n  \
                            perestroika why specs/demo greet debhelper\n\n\
                            Alone: the last build, by cause. Of PKG: what changed since it was built. \
                            Of PKG\nand DEP, a package of the release or of an archive: the ways \
                            from one to the other.")]
    Why(Why),
    /// Say which inputs of a release changed, and what is rebuilt because of them
    #[command(
        after_help = "Examples:\n  perestroika diff\n  perestroika diff specs/demo HEAD~1\n  \
                            perestroika diff specs/demo v1.0 v1.1\n\n\
                            A state is a folder, if there is one of that name, else a revision of \
                            git.\nWithout states, HEAD is held against the working tree; with one, \
                            that one is."
    )]
    Diff(Diff),
    /// Judge what is known of a release's builds; alone, in every way there is. Nothing is built
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "Examples:\n  perestroika audit specs/demo\n  \
                            perestroika audit closure specs/demo --json\n  \
                            perestroika audit archive specs/demo\n  \
                            perestroika audit inputs specs/demo --json\n  \
                            perestroika audit provenance specs/demo -o statements/\n\n\
                            Exit code: 1 if anything is found that a release should not have, or \
                            could not be\nproved; 3 if something could not be looked at."
    )]
    Audit(Audit),
    /// Answer over HTTP, read-only, until interrupted
    #[command(subcommand)]
    Serve(Serve),
    /// Bring a repository to its mirrors, and remove from it what nothing needs
    #[command(
        subcommand,
        after_help = "Examples:\n  perestroika repo push /srv/mirror --snapshots\n  \
                            perestroika repo prune -n"
    )]
    Repo(Repo),
    /// Publish packages of a release to a suite: sign, try with a real client, switch in one step
    #[command(after_help = "Examples:\n  perestroika publish specs/demo -n\n  \
                            perestroika publish specs/demo --to stable --key-file demo.key\n  \
                            perestroika publish specs/demo libgreet --to proposed\n\n\
                            Everything that is asked for has to be built. A version that is older \
                            than one that was\npublished, or the same with other content, is \
                            refused. Clients read the old generation or\nthe new one, never a \
                            mixture.")]
    Publish(Publish),
    /// See what the store holds, check it, keep releases in it, and free what nothing needs
    #[command(
        subcommand,
        after_help = "Examples:\n  perestroika store usage\n  \
                            perestroika store gc -n\n  \
                            perestroika store gc --max-size 20G\n  \
                            perestroika store pin specs/demo"
    )]
    Store(Store),
    /// Put a release with all that went into it and came of it into one file; check and import one
    #[command(
        subcommand,
        after_help = "Examples:\n  perestroika bundle create demo.perestroika specs/demo\n  \
                            perestroika bundle verify demo.perestroika\n  \
                            perestroika reproduce demo.perestroika\n\n\
                            `tar --zstd -xf` opens a bundle, too."
    )]
    Bundle(Bundle),
    /// Show the key that the store signs with
    #[command(
        subcommand,
        after_help = "Examples:\n  perestroika key list\n  perestroika key show > builder.pub"
    )]
    Key(Key),
    /// Show the chroot snapshots that packages are built on: what is in them, what uses them
    #[command(after_help = "Examples:\n  perestroika root list specs/demo\n  \
                            perestroika root show specs/demo bookworm\n  \
                            perestroika root diff specs/demo HEAD~1 HEAD")]
    Root(Root),
    /// Check whether this machine can build in isolation, and say what to change if not
    #[command(after_help = "Example:\n  perestroika doctor")]
    Doctor,
    /// Print the completions of a shell, to be read by it
    #[command(after_help = "Example:\n  perestroika completions bash \\\n    \
                            > ~/.local/share/bash-completion/completions/perestroika")]
    Completions(Completions),
}

#[derive(Debug, Args)]
pub struct Init {
    /// The folder of the new release; its name becomes the release's
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// The distribution it is built on
    #[arg(long, value_enum, default_value_t = Distribution::Bookworm, value_name = "NAME")]
    pub archive: Distribution,
    /// Only print what would be written
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// The distributions whose archives the embedded keyring can verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Distribution {
    /// Debian 12
    Bookworm,
    /// Debian 13
    Trixie,
}

#[derive(Debug, Args)]
pub struct Add {
    /// Folders of sources, URLs of git repositories or tarballs, names of the archive's source
    /// packages; and a release folder
    #[arg(value_name = "RELEASE|WHAT", required = true)]
    pub words: Vec<String>,
    /// What the package is called, if not as its source says
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The branch, tag or commit of a git repository [default: the tag of its newest
    /// release, else its default branch]
    #[arg(long, value_name = "REV")]
    pub rev: Option<String>,
    /// Copy a folder that lies outside of the release to its `src/NAME`
    #[arg(long)]
    pub copy: bool,
    /// Only print what would be written
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    pub words: Words,
}

#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// The shells whose completions can be printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// Bash
    Bash,
    /// Zsh
    Zsh,
    /// Fish
    Fish,
}

/// A release folder and names of packages, in any order.
#[derive(Debug, Args)]
pub struct Words {
    /// A release folder (`.` or with a `/`), and names of packages
    #[arg(value_name = "RELEASE|PKG")]
    pub words: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Eval {
    #[command(flatten)]
    pub words: Words,
    /// Print what needs what as a tree
    #[arg(long)]
    pub tree: bool,
    /// With --tree: what is needed by what
    #[arg(long, requires = "tree")]
    pub invert: bool,
    /// Print what needs what in the language of Graphviz
    #[arg(long, conflicts_with = "tree")]
    pub dot: bool,
    /// Print the value of an expression of the spec language, which sees what a spec sees
    #[arg(short, long, value_name = "EXPR", conflicts_with_all = ["tree", "dot"])]
    pub expression: Option<String>,
}

#[derive(Debug, Args)]
pub struct Fmt {
    /// Files, or folders with all their `*.rhai` [default: the nearest release]
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write nothing; show what would change, and fail if anything would
    #[arg(long)]
    pub check: bool,
}

#[derive(Debug, Args)]
pub struct Lock {
    #[command(flatten)]
    pub words: Words,
    /// Change nothing; fail if something is not pinned or no longer used
    #[arg(long)]
    pub check: bool,
}

#[derive(Debug, Args)]
pub struct Update {
    /// A release folder (`.` or with a `/`), and names of archives, sources, or `stdlib`
    #[arg(value_name = "RELEASE|NAME")]
    pub words: Vec<String>,
    /// Only print what would change
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

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
pub struct Root {
    #[command(subcommand)]
    pub command: RootCommand,
}

/// What can be asked of roots.
#[derive(Debug, Subcommand)]
pub enum RootCommand {
    /// List the roots of a release, and the layers of build roots that the store has of each
    #[command(after_help = "Example:\n  perestroika root list specs/demo")]
    List(Words),
    /// Show the packages of a root with their versions; of a package, those of its build root
    #[command(after_help = "Examples:\n  perestroika root show specs/demo bookworm\n  \
                            perestroika root show specs/demo libxslt")]
    Show(Words),
    /// Say what changed between two roots, or two states of one, and what uses it
    #[command(after_help = "Examples:\n  perestroika root diff specs/demo bookworm trixie\n  \
                            perestroika root diff specs/demo HEAD~1 bookworm\n\n\
                            A word that is no root of the release is a state of it, whose roots \
                            of the same\nname are meant: a folder, or else a revision of git.")]
    Diff(RootDiff),
}

#[derive(Debug, Args)]
pub struct RootDiff {
    /// The release folder; the old root or state, the new one
    #[arg(value_name = "RELEASE|ROOT|STATE", num_args = 2..=3, required = true)]
    pub states: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    pub words: Words,
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

/// What is asked of the store.
#[derive(Debug, Subcommand)]
pub enum Store {
    /// Show on one screen what takes how much room, for whom, and what could be freed
    #[command(after_help = "Example:\n  perestroika store usage")]
    Usage,
    /// Compare all that is kept with its name, put aside what is damaged, and say so
    #[command(after_help = "Example:\n  perestroika store verify\n\n\
                            What is put aside is fetched or built again when it is needed.\n\
                            Exit code: 1 if anything was damaged or missing.")]
    Verify(Verify),
    /// Remove what no release that was built or pinned needs, and no running process uses
    #[command(after_help = "Examples:\n  perestroika store gc -n\n  \
                            perestroika store gc --max-size 20G\n\n\
                            Of each release folder the last build stays, and the last that was \
                            whole. Builds may\nrun meanwhile.\n\n\
                            Exit code: 1 if what is needed takes more than --max-size.")]
    Gc(Gc),
    /// Keep a release that was built, whatever is built in its folder later
    #[command(after_help = "Examples:\n  perestroika store pin specs/demo\n  \
                            perestroika store pin b3:4f1c2a9be07d")]
    Pin(Named),
    /// Let a release go: its pin or, without one, what its folder's builds keep
    #[command(after_help = "Example:\n  perestroika store unpin specs/demo\n\n\
                            Nothing is removed before `perestroika store gc`. Without a pin, the \
                            builds in its\nfolder are forgotten, and keep nothing until the next \
                            one.")]
    Unpin(Named),
}

#[derive(Debug, Args)]
pub struct Verify {
    /// Only look whether the files of layers and unpacked packages are there, at their size
    #[arg(long)]
    pub quick: bool,
}

#[derive(Debug, Args)]
pub struct Gc {
    /// Remove no more than brings the store to this size, the least recently used first; after
    /// what nothing needs also what can be unpacked or made anew from what stays
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_size: Option<u64>,
    /// Only print what would be removed, and why
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Named {
    /// A release that was built: its folder (`.` or with a `/`), its name, or its id
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Only print what would change
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Why {
    #[command(flatten)]
    pub words: Words,
}

#[derive(Debug, Args)]
pub struct Diff {
    /// The release folder, the old state, the new state
    #[arg(value_name = "RELEASE|OLD|NEW", num_args = 0..=3)]
    pub states: Vec<String>,
}

/// Bytes, or so many `K`, `M`, `G` or `T` of 1024, its square, and so on.
fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.find(|letter: char| !letter.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let unit = match unit {
        "" => Some(1),
        "K" => Some(1 << 10),
        "M" => Some(1 << 20),
        "G" => Some(1 << 30),
        "T" => Some(1_u64 << 40),
        _ => None,
    };
    let bytes =
        number.parse::<u64>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
    bytes.ok_or_else(|| "expected a size such as 500M, 20G or 1T".to_owned())
}

fn mirror(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((archive, url))
            if !archive.is_empty()
                && ["http://", "https://", "file:"]
                    .iter()
                    .any(|scheme| url.starts_with(scheme)) =>
        {
            Ok((archive.to_owned(), url.to_owned()))
        }
        _ => Err("expected ARCHIVE=URL with an http, https or file URL".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }

    #[test]
    fn sizes_are_read_in_powers_of_1024() {
        assert_eq!(size("0"), Ok(0));
        assert_eq!(size("20G"), Ok(20 << 30));
        assert_eq!(size("3T"), Ok(3 << 40));
        for wrong in ["", "G", "-1", "1.5G", "20g", "20GB", "99999999999T"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
