//! What `repo` can be asked for.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What is done with a repository.
#[derive(Debug, Subcommand)]
pub enum Repo {
    /// Remove generations, indexes and packages that nothing needs
    #[command(after_help = "Examples:\n  perestroika repo prune -n\n  \
                            perestroika repo prune --keep 20 --keep-days 90\n\n\
                            What stays in any case: the generation that clients read, those that a \
                            symbolic link of\nthe repository leads to, the last one of each pinned \
                            release, and every file that any\nof them names.")]
    Prune(RepoPrune),
}

/// Which repository is meant.
#[derive(Debug, Args)]
pub struct RepoFolder {
    /// The repository [default: `repo` of the nearest release folder]
    #[arg(long, env = "PERESTROIKA_REPO", value_name = "DIR")]
    pub repo: Option<PathBuf>,
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
