//! `windlass archive`: the copies of logs elsewhere.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use windlass_archive::elasticsearch::{LogDocument, SearchQuery};
use windlass_archive::{ArchiveError, LogName, Selector};
use windlass_logs::LogReader;
use windlass_model::RepoName;
use windlass_model::plan::log_words;
use windlass_store::{ArchiveCopy, Store};

use super::{complain, open_store, say};
use crate::archive::{ArchiveArgs, ELASTICSEARCH, OBJECTS, Sinks, from_cluster, log_name};
use crate::folders::Folders;
use crate::report::{EXIT_FAILED, EXIT_OK, Problem};
use crate::terminal::age;

/// What to do with the archive.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what is archived, what waits, and why
    Status {
        #[command(flatten)]
        archive: ArchiveArgs,
    },
    /// Read all copies back, or those of one build, and compare; what is missing or wrong is
    /// written again by the server
    Verify {
        /// The build: demo/12
        build: Option<String>,
        #[command(flatten)]
        archive: ArchiveArgs,
    },
    /// Get logs of a build from the archive alone, without this server's own files
    Fetch(Fetch),
    /// Look for lines in all logs: those that hold all of these words
    Search(Search),
}

/// Which logs, from where, to where.
#[derive(Debug, ClapArgs)]
pub(crate) struct Fetch {
    /// The build: demo/12
    build: String,
    /// Only this attempt
    #[arg(long, value_name = "N")]
    attempt: Option<i64>,
    /// Only this step: its number, 1 for the first
    #[arg(long, value_name = "N")]
    step: Option<u32>,
    /// Put a folder for each attempt into this one, with the logs as the server keeps them
    /// [default: print the logs]
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// From where, if both are configured
    #[arg(long)]
    from: Option<Kept>,
    /// Of this data folder, if several wrote into one archive; `windlass archive status` prints it
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
    #[command(flatten)]
    archive: ArchiveArgs,
}

/// Where a copy is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kept {
    /// Elasticsearch or OpenSearch
    Elasticsearch,
    /// Object storage
    S3,
}

/// What to look for.
#[derive(Debug, ClapArgs)]
pub(crate) struct Search {
    /// The words; one at least must be a whole word of the line
    #[arg(required = true)]
    words: Vec<String>,
    /// Only in this repository
    #[arg(long, value_name = "NAME")]
    repo: Option<RepoName>,
    /// How many lines are enough
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    archive: ArchiveArgs,
}

pub(crate) async fn run(command: Command, folders: &Folders) -> Result<u8, Problem> {
    match command {
        Command::Status { archive } => status(&archive.sinks()?, folders).await,
        Command::Verify { build, archive } => {
            verify(&archive.sinks()?, build.as_deref(), folders).await
        }
        Command::Fetch(args) => fetch(&args).await,
        Command::Search(args) => search(&args).await,
    }
}

fn no_archive() -> Problem {
    Problem::new("no archive is named").hint(
        "give the options that the server has: --elasticsearch URL (or \
         WINDLASS_ELASTICSEARCH_URL), or --s3-endpoint and --s3-bucket",
    )
}

async fn status(sinks: &Sinks, folders: &Folders) -> Result<u8, Problem> {
    let store = open_store(folders).await?;
    let counts = store.archive_counts().await?;
    if counts.is_empty() && sinks.is_empty() {
        say("no logs are archived: the server was never started with an archive");
        store.close().await;
        return Ok(EXIT_OK);
    }
    say(format_args!(
        "this data folder is {} in the archive",
        store.archive_instance().await?
    ));
    let mut names: Vec<&str> = counts.iter().map(|count| count.sink.as_str()).collect();
    names.extend(sinks.names());
    names.sort_unstable();
    names.dedup();
    for name in names {
        let of = counts.iter().filter(|count| count.sink == name);
        let active = of.clone().any(|count| count.active);
        say(format_args!(
            "{name}{}",
            if active {
                ""
            } else {
                " (the server was last started without it)"
            }
        ));
        for count in of.filter(|count| !count.state.is_empty()) {
            let mut line = format!("  {:<9} {:>7} logs", count.state, count.copies);
            if count.state == "kept" {
                line.push_str(&format!(", {} bytes", count.bytes));
            } else if matches!(count.state.as_str(), "waiting" | "removing") {
                line.push_str(&format!(", the oldest since {}", age(count.oldest_ms)));
            }
            say(line);
        }
        for copy in store.archive_troubles(name, 5).await? {
            say(format_args!(
                "  {}: {}",
                log_name("", &copy).describe(),
                copy.last_error
            ));
        }
    }
    store.close().await;
    let mut reached = true;
    if let Some(es) = &sinks.elasticsearch {
        match es.info().await {
            Ok(info) => say(format_args!(
                "{} {} answers at {} (cluster {})",
                info.product,
                info.version,
                es.address(),
                info.name
            )),
            Err(error) => {
                reached = false;
                say(format_args!("{}: {error}", es.address()));
            }
        }
    }
    Ok(if reached { EXIT_OK } else { EXIT_FAILED })
}

/// `demo/12`
fn parse_build(name: &str) -> Result<(RepoName, i64), Problem> {
    let unclear = || {
        Problem::new(format!("{name:?} does not name a build"))
            .hint("say REPOSITORY/NUMBER, such as demo/12; `windlass builds` lists them")
    };
    let (repo, number) = name.rsplit_once(['/', '#']).ok_or_else(unclear)?;
    let number: i64 = number.parse().map_err(|_| unclear())?;
    Ok((repo.parse()?, number))
}

async fn verify(sinks: &Sinks, build: Option<&str>, folders: &Folders) -> Result<u8, Problem> {
    if sinks.is_empty() {
        return Err(no_archive());
    }
    let store = open_store(folders).await?;
    let build = match build {
        Some(name) => {
            let (repo, number) = parse_build(name)?;
            Some(store.build(&repo, number).await?.id)
        }
        None => None,
    };
    let instance = store.archive_instance().await?;
    let (mut good, mut bad) = (0_u64, 0_u64);
    for sink in sinks.names() {
        for copy in store.copies(sink, build).await? {
            if copy.state != "kept" {
                continue;
            }
            let name = log_name(&instance, &copy);
            match verify_one(sinks, &copy, &name).await {
                Ok(()) => good += 1,
                Err(error @ (ArchiveError::Missing { .. } | ArchiveError::Differs { .. })) => {
                    bad += 1;
                    say(format_args!("{sink}: {}: {error}", name.describe()));
                    again(&store, folders, &copy, &error).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    store.close().await;
    say(format_args!(
        "{good} copies are as they were written, {bad} are not"
    ));
    Ok(if bad == 0 { EXIT_OK } else { EXIT_FAILED })
}

async fn verify_one(sinks: &Sinks, copy: &ArchiveCopy, name: &LogName) -> Result<(), ArchiveError> {
    match (copy.sink.as_str(), &sinks.elasticsearch, &sinks.objects) {
        (ELASTICSEARCH, Some(es), _) => es.verify(name, &copy.sha256).await.map(drop),
        (OBJECTS, _, Some(s3)) => s3.verify(name, &copy.sha256).await,
        _ => Ok(()),
    }
}

/// Lets the server write it again, if the log is still here.
async fn again(
    store: &Store,
    folders: &Folders,
    copy: &ArchiveCopy,
    error: &ArchiveError,
) -> Result<(), Problem> {
    let attempt = windlass_model::AttemptId::from_row(copy.attempt_id);
    let dir = folders.logs().join(attempt.as_str());
    let step = u32::try_from(copy.step).unwrap_or(u32::MAX);
    if windlass_logs::copy::has_log(&dir, step)? {
        store.copy_again(copy.id, &error.to_string()).await?;
        say("  it is here: the server will write it again");
    } else {
        say("  it is not here either");
    }
    Ok(())
}

async fn fetch(args: &Fetch) -> Result<u8, Problem> {
    let sinks = args.archive.sinks()?;
    let (repo, number) = parse_build(&args.build)?;
    if args.step == Some(0) {
        return Err(Problem::new("steps are counted from 1"));
    }
    let selector = Selector {
        instance: args.instance.clone(),
        repo: repo.to_string(),
        build: number,
        attempt: args.attempt,
        step: args.step.map(|step| step - 1),
    };
    let from = match (args.from, &sinks.elasticsearch, &sinks.objects) {
        (Some(Kept::S3), _, Some(_)) | (None, None, Some(_)) => Kept::S3,
        (Some(Kept::Elasticsearch) | None, Some(_), _) => Kept::Elasticsearch,
        _ => return Err(no_archive()),
    };
    let names: Vec<LogName> = match (from, &sinks.elasticsearch, &sinks.objects) {
        (Kept::Elasticsearch, Some(es), _) => {
            let found = es.find(&selector).await?;
            found.iter().map(LogDocument::name).collect()
        }
        (Kept::S3, _, Some(s3)) => s3.find(&selector).await?,
        _ => return Err(no_archive()),
    };
    let Some(first) = names.first() else {
        return Err(Problem::new(format!(
            "the archive has no log of {}",
            selector.describe()
        )));
    };
    if names.iter().any(|name| name.instance != first.instance) {
        let mut ids: Vec<&str> = names.iter().map(|name| name.instance.as_str()).collect();
        ids.dedup();
        return Err(
            Problem::new(format!("several data folders have a build {}", args.build))
                .hint(format!("choose one with --instance: {}", ids.join(", "))),
        );
    }
    let scratch = tempfile::tempdir()?;
    let root = args.into.as_deref().unwrap_or(scratch.path());
    for name in &names {
        let dir = root.join(format!("attempt-{}", name.attempt));
        match (from, &sinks.elasticsearch, &sinks.objects) {
            (Kept::Elasticsearch, Some(es), _) => from_cluster(es, name, &dir).await?,
            (Kept::S3, _, Some(s3)) => s3.restore(name, &dir).await?,
            _ => return Err(no_archive()),
        }
        let mut reader = LogReader::open(&dir, name.step)?;
        let (bytes, sha256) = match reader.meta() {
            Some(meta) => (meta.bytes, meta.sha256.clone()),
            None => (0, String::new()),
        };
        let about = format!(
            "attempt {}, {} ({}): {bytes} bytes, SHA-256 {sha256}",
            name.attempt,
            log_words(name.step),
            name.step_name
        );
        if args.into.is_some() {
            say(format_args!("{about}, in {}", dir.display()));
        } else {
            if names.len() > 1 {
                complain(format_args!("── {about}"));
            }
            print(&mut reader, &dir)?;
        }
    }
    Ok(EXIT_OK)
}

fn print(reader: &mut LogReader, dir: &Path) -> Result<(), Problem> {
    let mut out = std::io::stdout().lock();
    match reader.copy_to(0..u64::MAX, &mut out) {
        Ok(_) => Ok(out.flush()?),
        // The reader (a pager, `head`) has seen enough.
        Err(windlass_logs::LogError::Output(_)) => {
            std::fs::remove_dir_all(dir).unwrap_or_default();
            std::process::exit(i32::from(EXIT_OK));
        }
        Err(error) => Err(error.into()),
    }
}

async fn search(args: &Search) -> Result<u8, Problem> {
    let sinks = args.archive.sinks()?;
    let Some(es) = &sinks.elasticsearch else {
        return Err(
            Problem::new("only Elasticsearch can search, and none is named")
                .hint("give --elasticsearch URL, or set WINDLASS_ELASTICSEARCH_URL"),
        );
    };
    let answer = es
        .search(&SearchQuery {
            words: args.words.join(" "),
            repo: args.repo.as_ref().map(ToString::to_string),
            limit: args.limit,
            ..SearchQuery::default()
        })
        .await?;
    for hit in answer.hits.iter().take(args.limit) {
        say(format_args!(
            "{}/{} attempt {} {} line {}: {}",
            hit.repo,
            hit.build,
            hit.attempt,
            log_words(hit.step),
            hit.line,
            hit.text
        ));
    }
    if answer.hits.len() > args.limit || answer.next.is_some() {
        complain("there may be more: raise --limit, or look for more words");
    }
    Ok(if answer.hits.is_empty() {
        EXIT_FAILED
    } else {
        EXIT_OK
    })
}
