//! What `repo` can be asked for.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::publish::{Downgrade, Place};

use crate::publish::mirror::{Target, target};

/// What is done with a repository.
#[derive(Debug, Subcommand)]
pub enum Repo {
    /// List the suites of a repository, and its generations
    #[command(after_help = "Example:\n  perestroika repo list --repo /srv/debian")]
    List(RepoList),
    /// Say what a generation is, and what it changed
    #[command(after_help = "Examples:\n  perestroika repo show\n  perestroika repo show 7")]
    Show(RepoShow),
    /// Say which packages are different in two generations
    #[command(after_help = "Example:\n  perestroika repo diff 3 7")]
    Diff(RepoDiff),
    /// Put packages that one suite has into another, as they are
    #[command(after_help = "Example:\n  perestroika repo promote libgreet greet --from proposed \
                            --to stable")]
    Promote(RepoPromote),
    /// Take packages out of a suite; clients that have them keep them
    #[command(after_help = "Example:\n  perestroika repo withdraw greet --from stable --reason \
                            \"it loses data\"")]
    Withdraw(RepoWithdraw),
    /// Make a suite what it was in an earlier generation; a new generation says so
    #[command(after_help = "Examples:\n  perestroika repo rollback stable\n  \
                            perestroika repo rollback stable 7\n\n\
                            Clients take it for what is newest. What they have installed stays \
                            until somebody\ninstalls the older version.")]
    Rollback(RepoRollback),
    /// Sign suites again as they are, with a new date, before they expire
    #[command(after_help = "Examples:\n  perestroika repo refresh\n  \
                            perestroika repo refresh specs/demo stable")]
    Refresh(RepoRefresh),
    /// Take over a repository that reprepro, aptly or another tool made
    #[command(
        after_help = "Examples:\n  perestroika repo adopt /srv/reprepro --keyring old.pgp\n  \
                            perestroika repo adopt https://HOST/debian stable --to \
                            stable=updates --keyring old.pgp\n\n\
                            All packages of all components and architectures come, sources too, \
                            each as its digest\nsays, and everything that was published is in the \
                            ledger from then on. A suite has the newest\nversion of each package. \
                            Snapshots first, in their order, then the suite itself: then the \
                            ledger\nknows those as well. Killed half-way it goes on where it was."
    )]
    Adopt(RepoAdopt),
    /// Remove generations, indexes and packages that nothing needs
    #[command(after_help = "Examples:\n  perestroika repo prune -n\n  \
                            perestroika repo prune --keep 20 --keep-days 90\n\n\
                            What stays in any case: the generation that clients read, those that a \
                            symbolic link of\nthe repository leads to, the last one of each pinned \
                            release, and every file that any\nof them names.")]
    Prune(RepoPrune),
    /// Bring what clients read to another place: a folder, rsync, an object store
    #[command(after_help = "Examples:\n  perestroika repo push /srv/mirror\n  \
                            perestroika repo push mirror@HOST:/srv/mirror --snapshots\n  \
                            perestroika repo push rsync://HOST/module/debian\n  \
                            perestroika repo push s3://BUCKET/debian --endpoint https://HOST\n\n\
                            Packages and indexes go first, and the link that clients follow moves \
                            last, once all of\nthem were compared at the far end; in an object \
                            store InRelease is what comes last.\nRun it again after a failure: it \
                            goes on where it was.\n\n\
                            rsync is asked for by name; it takes RSYNC_PASSWORD and RSYNC_RSH. The \
                            keys of an object\nstore come from AWS_ACCESS_KEY_ID, \
                            AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or from\nthe profile \
                            AWS_PROFILE of ~/.aws/credentials; its region from AWS_REGION.")]
    Push(RepoPush),
}

/// Which repository is meant.
#[derive(Debug, Args)]
pub struct RepoFolder {
    /// The repository [default: `repo` of the nearest release folder]
    #[arg(long, env = "PERESTROIKA_REPO", value_name = "DIR")]
    pub repo: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct RepoAdopt {
    /// Where the repository is: a URL, or the folder that has `dists`
    #[arg(value_name = "URL|DIR")]
    pub from: String,
    /// Its suites [default: of a folder all, at a URL those that are called as ours]
    #[arg(value_name = "SUITE")]
    pub suites: Vec<String>,
    /// Ours that becomes what SUITE there is [default: the one of the same name]
    #[arg(long, value_name = "SUITE=OURS", value_parser = renamed)]
    pub to: Vec<(String, String)>,
    /// The OpenPGP keys of which one has signed it
    #[arg(long, value_name = "FILE", required_unless_present = "trust_folder")]
    pub keyring: Option<PathBuf>,
    /// Take a folder without looking at its signatures; the ledger tells
    #[arg(long, conflicts_with = "keyring")]
    pub trust_folder: bool,
    /// The release whose suites, keys and client are used [default: the nearest]
    #[arg(long, value_name = "DIR")]
    pub release: Option<PathBuf>,
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub downgrade: Downgrade,
}

fn renamed(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((there, ours)) if !there.is_empty() && !ours.is_empty() => {
            Ok((there.to_owned(), ours.to_owned()))
        }
        _ => Err("expected SUITE=OURS".to_owned()),
    }
}

#[derive(Debug, Args)]
pub struct RepoPrune {
    #[command(flatten)]
    pub repo: RepoFolder,
    /// How many generations stay at least, the newest first
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub keep: usize,
    /// For how many days what clients have read stays
    #[arg(long, value_name = "DAYS", default_value_t = 14)]
    pub keep_days: u32,
    /// Only print what would be removed, and why the rest stays
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct RepoPush {
    /// A folder, HOST:PATH, HOST::MODULE/PATH, rsync://HOST/MODULE/PATH or s3://BUCKET/PREFIX
    #[arg(value_name = "TARGET", value_parser = place)]
    pub target: Target,
    #[command(flatten)]
    pub repo: RepoFolder,
    /// Bring each generation to `snapshots/NAME-TIME` of its own, hard-linked to the one before;
    /// the link `latest` leads to the newest
    #[arg(long)]
    pub snapshots: bool,
    /// With --snapshots: remove snapshots that are older and that no link leads to
    #[arg(long, value_name = "DAYS", default_value_t = 61, requires = "snapshots")]
    pub keep_days: u32,
    /// Where an object store answers
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL")]
    pub endpoint: Option<String>,
    /// Only print what would be brought there
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

fn place(text: &str) -> Result<Target, target::TargetError> {
    text.parse()
}

#[derive(Debug, Args)]
pub struct RepoList {
    #[command(flatten)]
    pub repo: RepoFolder,
}

#[derive(Debug, Args)]
pub struct RepoShow {
    /// The generation's number [default: the one that clients read]
    #[arg(value_name = "GEN")]
    pub generation: Option<u64>,
    #[command(flatten)]
    pub repo: RepoFolder,
}

#[derive(Debug, Args)]
pub struct RepoDiff {
    /// The generation to begin with
    #[arg(value_name = "A")]
    pub old: u64,
    /// The generation to end with [default: the one that clients read]
    #[arg(value_name = "B")]
    pub new: Option<u64>,
    #[command(flatten)]
    pub repo: RepoFolder,
}

#[derive(Debug, Args)]
pub struct RepoPromote {
    /// The release folder (`.` or with a `/`) whose keys sign [default: the nearest], and the
    /// source packages
    #[arg(value_name = "RELEASE|PKG", required = true)]
    pub words: Vec<String>,
    /// The suite that has them, and keeps them
    #[arg(long, value_name = "SUITE")]
    pub from: String,
    /// The suite that gets them
    #[arg(long, value_name = "SUITE")]
    pub to: String,
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub downgrade: Downgrade,
}

#[derive(Debug, Args)]
pub struct RepoWithdraw {
    /// The release folder (`.` or with a `/`) whose keys sign [default: the nearest], and the
    /// source packages
    #[arg(value_name = "RELEASE|PKG", required = true)]
    pub words: Vec<String>,
    /// The suite that has them
    #[arg(long, value_name = "SUITE")]
    pub from: String,
    /// Why they go: the ledger keeps it
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct RepoRollback {
    /// The release folder (`.` or with a `/`) whose keys sign [default: the nearest], the suite,
    /// and the generation it is to be as in [default: the one before its last change]
    #[arg(value_name = "RELEASE|SUITE|GEN", required = true)]
    pub words: Vec<String>,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct RepoRefresh {
    /// The release folder (`.` or with a `/`) whose keys sign [default: the nearest], and the suites
    /// [default: all that the release publishes to]
    #[arg(value_name = "RELEASE|SUITE")]
    pub words: Vec<String>,
    #[command(flatten)]
    pub place: Place,
}
