//! What can be asked about what was built.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Words;
use crate::base::merkle::Head;

#[derive(Debug, Args)]
pub struct Audit {
    #[command(subcommand)]
    pub command: Option<AuditCommand>,
    #[command(flatten)]
    pub words: Words,
}

/// In which way a release is judged.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Find build dependencies that were never used, and uses that are not declared
    #[command(after_help = "Examples:\n  perestroika build specs/demo libxslt --trace\n  \
                            perestroika audit inputs specs/demo libxslt\n\n\
                            `unused`: no file was read of a build dependency, nor of what is in the \
                            build root only\nbecause of it. `undeclared`: programs, modules, headers \
                            or the like were read of a package\nthat is there only because another \
                            needs it; `perhaps`, where that other one may have read\nthem for itself. \
                            A macro file for aclocal counts as read, as aclocal reads all.\n\n\
                            Exit code: 0 whatever it finds, as one build shows what that build read \
                            and no more.")]
    Inputs(Words),
    /// Prove that all that was built with is the release's own or its enumerated seed
    #[command(after_help = "Examples:\n  perestroika audit closure specs/demo\n  \
                            perestroika audit closure specs/demo greet\n\n\
                            Everything that the records of its builds name is read and compared \
                            with its digest.\nThe levels are `sealed`: there is nothing else; \
                            `own`: and nothing that the release\nbuilds is taken from the archive; \
                            `self-hosted`: and there is no seed. `[closure]\nrequire` in \
                            release.toml demands one.\n\n\
                            Exit code: 1 below that level, or if not every package is built.")]
    Closure(Words),
    /// Hold what was rebuilt from an archive's own sources against the archive's own binaries
    #[command(after_help = "Examples:\n  perestroika audit archive specs/demo\n  \
                            perestroika audit archive specs/demo libxslt --buildinfo infos/\n\n\
                            Where bytes differ, the archive's package is fetched, and what differs \
                            is told: members,\ncontrol fields, files.\n\n\
                            Exit code: 1 if anything differs, or is not built.")]
    Archive(AuditArchive),
    /// Check the journal of what was built and pinned here, and list what it tells of
    #[command(after_help = "Examples:\n  perestroika audit history specs/demo\n  \
                            perestroika audit history specs/demo --since 17:0f3a…\n\n\
                            The store's journal is a list that only grows, under one Merkle tree \
                            (RFC 9162). Of the\nrelease that is named, or the nearest, its entries \
                            are listed, the newest first; without one,\nall are. What is checked is \
                            always the whole: the tree against its head, the head against the\none \
                            that was checked last, and that every record that counts is told of.\n\n\
                            Exit code: 1 if anything of that does not hold.")]
    History(AuditHistory),
    /// Say what each package was built from, signed: in-toto and SLSA, `.buildinfo`, SPDX
    #[command(
        after_help = "Examples:\n  perestroika audit provenance specs/demo -o statements/\n  \
                            perestroika audit provenance specs/demo greet --json\n\n\
                            From the records alone, so the same build gives the same bytes. For \
                            each package:\n  \
                            NAME_VERSION_ARCH.provenance.json  in-toto Statement v1 with SLSA \
                            provenance v1, in\n                                     a DSSE \
                            envelope signed by the builder key\n  \
                            NAME_VERSION_ARCH.buildinfo        deb-buildinfo(5)\n  \
                            NAME_VERSION_ARCH.spdx.json        SPDX 2.3; RELEASE_VERSION.spdx.json \
                            of all of them\n\n\
                            Exit code: 1 if a package is not built, or not by this store."
    )]
    Provenance(AuditProvenance),
    /// Say of each package whether enough trusted builders came to the same bytes
    #[command(
        after_help = "Examples:\n  perestroika audit quorum specs/demo --statements statements/\n  \
                            perestroika audit quorum specs/demo greet --statements a.jsonl \
                            --statements b.jsonl\n\n\
                            Whose word counts, and of how many, is said in release.toml; what they \
                            say is what\n`audit provenance` writes in their stores. This store's \
                            own builds are among it, if its key\nis:\n\n  \
                            [trust]\n  builders = [\"keys/a.pub\", \"keys/b.pub\"]   # as `key show` \
                            prints them\n  need = 2\n\n\
                            Exit code: 1 unless all packages are agreed on. Who dissents is named \
                            either way."
    )]
    Quorum(AuditQuorum),
}

#[derive(Debug, Args)]
pub struct AuditProvenance {
    #[command(flatten)]
    pub words: Words,
    /// Write the files to DIR
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct AuditQuorum {
    #[command(flatten)]
    pub words: Words,
    /// What builders say: an envelope, a file with one in each line, a bundle (`bundle create
    /// --records`), or a folder, which is searched for `*.provenance.json`, `*.jsonl`, `*.records`
    /// and `*.perestroika`
    #[arg(long, value_name = "FILE|DIR")]
    pub statements: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct AuditHistory {
    #[command(flatten)]
    pub words: Words,
    /// A head that the journal had, which it has to continue, in place of the one that was
    /// checked last
    #[arg(long, value_name = "SIZE:HASH")]
    pub since: Option<Head>,
    /// Write the journal's head to FILE, signed by the store's builder key (DSSE), if all holds
    #[arg(long, value_name = "FILE")]
    pub head: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct AuditArchive {
    #[command(flatten)]
    pub words: Words,
    /// A `.buildinfo` of the distribution, or a folder of them: what it was built with there is
    /// held against what it was built with here. Its signature is not checked
    #[arg(long, value_name = "FILE|DIR")]
    pub buildinfo: Vec<PathBuf>,
}
