//! What can be asked for.

mod audit;
mod build;
mod bundle;
mod global;
mod key;
mod publish;
mod repo;
mod serve;
mod store;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use audit::{Audit, AuditArchive, AuditCommand, AuditHistory, AuditProvenance, AuditQuorum};
pub use build::{Build, Enter, Log, Patch, Reproduce};
pub use bundle::{Bundle, BundleCreate, BundleImport, BundleVerify};
pub use global::{Colour, ExecutorKind, Global, ProgressKind, RequiredLimits};
pub use key::{Key, KeyAlgorithm, KeyCheck, KeyNew};
pub use publish::{Downgrade, Place, Publish};
pub use repo::{
    Repo, RepoAdopt, RepoDiff, RepoFolder, RepoList, RepoPromote, RepoPrune, RepoPush, RepoRefresh,
    RepoRollback, RepoShow, RepoWithdraw,
};
pub use serve::{Serve, ServeRepo, ServeStore};
pub use store::{Gc, Named, Store, Verify};

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
                            perestroika build specs/demo specs/single\n  \
                            perestroika build specs/demo --executor docker --engine fast\n\n\
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
    /// See what a repository has, move packages between its suites and back, bring it to mirrors,
    /// take over another one, and remove what nothing needs
    #[command(
        subcommand,
        after_help = "Examples:\n  perestroika repo list\n  \
                            perestroika repo rollback stable\n  \
                            perestroika repo push /srv/mirror --snapshots\n  \
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
    /// Make keys that sign repositories, say what they are good for, and show the store's own
    #[command(
        subcommand,
        after_help = "Examples:\n  \
                            perestroika key new \"Demo archive <release@example.org>\" -o mine\n  \
                            perestroika key check specs/demo\n  \
                            perestroika key show > builder.pub"
    )]
    Key(Key),
    /// Show the chroot snapshots that packages are built on: what is in them, what uses them
    #[command(after_help = "Examples:\n  perestroika root list specs/demo\n  \
                            perestroika root show specs/demo bookworm\n  \
                            perestroika root diff specs/demo HEAD~1 HEAD")]
    Root(Root),
    /// Check whether this machine can build in isolation, and say what to change if not
    #[command(after_help = "Examples:\n  perestroika doctor\n  \
                            perestroika doctor --executor docker\n\n\
                            Container engines are looked at where config.toml, DOCKER_HOST or \
                            --executor names any.")]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }
}
