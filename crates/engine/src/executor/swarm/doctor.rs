//! What may be wrong with a Swarm, and how to mend it: asked of the managers, and tried on every node by
//! the shim itself, which meets its likes there (`windlass-shim meet`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::models::{
    NetworkAttachmentConfig, NetworkCreateRequest, ServiceSpecMode, Task, TaskSpecContainerSpec,
};
use bollard::query_parameters::{ListTasksOptions, LogsOptions};
use futures_util::StreamExt as _;
use windlass_model::Node;
use windlass_shim::remote::{MEET, Meeting, Met};

use super::super::ExecutorError;
use super::super::daemon::{Daemon, is_passing, words};
use super::desk::new_token;
use super::nodes;
use super::program::{Program, STARTER};
use super::spec::one_shot;
use super::standing::Standing;

/// The port on which shims meet, on a network of their own.
const PORT: u16 = 7077;
/// How long they stay.
const STAY: Duration = Duration::from_secs(8);
/// How long it may take until all have been there.
const LIMIT: Duration = Duration::from_secs(90);

/// How often they are sent: a machine that did not start a container for a reason that is over in a moment
/// is asked again, as it is for a job.
const ROUNDS: usize = 3;

/// Clocks that differ by more make times in logs hard to read.
const SKEW_NOTED: i64 = 1_000_000;
/// Clocks that differ by more make certificates and time limits fail.
const SKEW_BAD: i64 = 30_000_000;

/// The oldest engine with everything that a job's service asks for (API 1.41).
const OLDEST: (u32, u32) = (20, 10);

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Good,
    /// It works, and will not always.
    Doubtful,
    /// It does not work.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was found, in a sentence without an end.
    pub what: String,
    /// What to do; empty if it is good.
    pub mend: String,
}

impl Finding {
    fn good(what: impl Into<String>) -> Self {
        Self {
            level: Level::Good,
            what: what.into(),
            mend: String::new(),
        }
    }

    fn new(level: Level, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            level,
            what: what.into(),
            mend: mend.into(),
        }
    }
}

/// What to look at.
#[derive(Debug, Clone)]
pub struct Examination {
    /// A manager.
    pub host: String,
    /// An image that every node should be able to run; its contents don't matter.
    pub image: String,
    /// `host:port` where the nodes shall reach the server.
    pub server: String,
    /// The shim.
    pub shim: PathBuf,
    /// The program that puts it together.
    pub starter: &'static [u8],
}

/// Looks at everything.
///
/// # Errors
/// No manager can be reached: nothing else can be looked at.
pub async fn examine(what: &Examination) -> Result<Vec<Finding>, ExecutorError> {
    let daemon = Daemon::new(what.host.clone());
    let docker = daemon.docker()?;
    let all = nodes::list(&daemon).await?;
    let mut findings = managers(&all);
    findings.extend(states(&all));
    findings.extend(versions(&all));
    let mut reports = meet(&daemon, &docker, what).await?;
    let mut weak = BTreeMap::new();
    for _ in 1..ROUNDS {
        let now = moments_of_weakness(&reports);
        if now.is_empty() {
            break;
        }
        weak.extend(now);
        // All of them once more: each is to meet all others.
        reports = meet(&daemon, &docker, what).await?;
    }
    findings.extend(shown_weak(&all, &weak, &reports));
    findings.extend(meetings(&all, &reports, &what.image, &what.server));
    Ok(findings)
}

fn managers(all: &[Node]) -> Vec<Finding> {
    let managers: Vec<&Node> = all.iter().filter(|n| n.role == "manager").collect();
    let mut found = Vec::new();
    for node in &managers {
        let word = node.reachability.as_deref().unwrap_or("unknown");
        if word != "reachable" {
            found.push(Finding::new(
                Level::Bad,
                format!("the manager {} is {word}", node.name),
                "start dockerd there, and open port 2377/tcp between the managers; one that is gone for good: \
                 `docker node demote`, then `docker node rm`",
            ));
        }
    }
    found.push(match managers.len() {
        1 => Finding::new(
            Level::Doubtful,
            "there is one manager: while it is away nothing can be placed",
            "three managers survive the loss of one: `docker node promote NODE`",
        ),
        n if n % 2 == 0 => Finding::new(
            Level::Doubtful,
            format!("there are {n} managers: an even number survives no more losses than one less"),
            "make it an odd number: `docker node promote` or `demote`",
        ),
        n => Finding::good(format!("there are {n} managers")),
    });
    found
}

fn states(all: &[Node]) -> Vec<Finding> {
    let mut found: Vec<Finding> = all
        .iter()
        .filter_map(|node| match node.word() {
            "ready" => None,
            "drained" | "paused" => Some(Finding::new(
                Level::Doubtful,
                format!("the node {} takes no jobs ({})", node.name, node.word()),
                format!("if that is over: `docker node update --availability active {}`", node.name),
            )),
            word => Some(Finding::new(
                Level::Bad,
                format!("the node {} is {word}", node.name),
                "start it and its dockerd, or `docker node rm` it; open ports 2377/tcp and 7946/tcp+udp to it",
            )),
        })
        .collect();
    if found.is_empty() {
        found.push(Finding::good(format!("all {} nodes are ready", all.len())));
    }
    found
}

fn versions(all: &[Node]) -> Vec<Finding> {
    let number = |text: &str| {
        let mut parts = text.split(['.', '-', '+']).map(str::parse);
        match (parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
            _ => None,
        }
    };
    let mut by_version: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in all {
        by_version.entry(&node.engine).or_default().push(&node.name);
    }
    let mut found = Vec::new();
    for (version, names) in &by_version {
        if number(version).is_none_or(|v| v < OLDEST) {
            found.push(Finding::new(
                Level::Bad,
                format!("Docker {version} on {} is too old", names.join(", ")),
                format!(
                    "Docker {}.{} or newer has what jobs need",
                    OLDEST.0, OLDEST.1
                ),
            ));
        }
    }
    if by_version.len() > 1 {
        let each = by_version
            .iter()
            .map(|(v, names)| format!("{v} on {}", names.join(", ")));
        found.push(Finding::new(
            Level::Doubtful,
            format!(
                "the nodes have several versions of Docker: {}",
                each.collect::<Vec<_>>().join("; ")
            ),
            "while an upgrade is under way that is fine; otherwise bring all to the newest",
        ));
    } else if found.is_empty() {
        let version = by_version.keys().next().unwrap_or(&"");
        found.push(Finding::good(format!("Docker {version} is on all of them")));
    }
    found
}

/// The nodes that did not start a container for a reason that is over in a moment, and that reason.
fn moments_of_weakness(reports: &BTreeMap<String, Report>) -> BTreeMap<String, String> {
    reports
        .iter()
        .filter_map(|(node, report)| Some((node, report.as_ref().err()?)))
        .filter(|(_, why)| is_passing(why))
        .map(|(node, why)| (node.clone(), why.clone()))
        .collect()
}

/// What to tell of nodes that started their container at a later try. Those that never did are told of with the
/// meetings.
fn shown_weak(
    all: &[Node],
    weak: &BTreeMap<String, String>,
    reports: &BTreeMap<String, Report>,
) -> Vec<Finding> {
    let name = |id: &str| {
        let node = all.iter().find(|node| node.id == id);
        node.map_or(id, |node| node.name.as_str()).to_owned()
    };
    weak.iter()
        .filter(|(id, _)| reports.get(*id).is_some_and(Result::is_ok))
        .map(|(id, why)| {
            let name = name(id);
            Finding::new(
                Level::Doubtful,
                format!("{name} did not start a container at the first try: {why}"),
                format!(
                    "a job that meets this is started again by itself; if it comes often, the log of dockerd on \
                     {name} tells more (memory, processes, open files)"
                ),
            )
        })
        .collect()
}

/// What a node's shim told, or why it could not.
type Report = Result<Met, String>;

/// Lets a shim on every node meet the others, on an overlay network made for it.
async fn meet(
    daemon: &Daemon,
    docker: &Docker,
    what: &Examination,
) -> Result<BTreeMap<String, Report>, ExecutorError> {
    let name = format!("windlass-doctor-{}", &new_token()?[..12]);
    let made = docker
        .create_network(NetworkCreateRequest {
            name: name.clone(),
            driver: Some("overlay".to_owned()),
            ..NetworkCreateRequest::default()
        })
        .await;
    made.map_err(|e| daemon.failed("make an overlay network", e))?;
    let reports = meet_on(daemon, docker, what, &name).await;
    // Whatever came of it; the network a moment later, because tasks leave it slowly.
    docker.delete_service(&name).await.unwrap_or_default();
    for _ in 0..40 {
        if docker.remove_network(&name).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    reports
}

async fn meet_on(
    daemon: &Daemon,
    docker: &Docker,
    what: &Examination,
    name: &str,
) -> Result<BTreeMap<String, Report>, ExecutorError> {
    let program = Program::new(what.shim.clone(), what.starter);
    let meeting = Meeting {
        peers: format!("tasks.{name}"),
        port: PORT,
        seconds: STAY.as_secs(),
        server: what.server.clone(),
    };
    let meeting = serde_json::to_string(&meeting).unwrap_or_default();
    let container = TaskSpecContainerSpec {
        image: Some(what.image.clone()),
        command: Some(words(&[STARTER, MEET, &meeting])),
        configs: Some(program.files(daemon, docker).await?),
        init: Some(false),
        ..TaskSpecContainerSpec::default()
    };
    let network = NetworkAttachmentConfig {
        target: Some(name.to_owned()),
        ..NetworkAttachmentConfig::default()
    };
    let mut spec = one_shot(
        name.to_owned(),
        std::collections::HashMap::new(),
        container,
        None,
        Vec::new(),
        Some(network),
    );
    spec.mode = Some(ServiceSpecMode {
        global: Some(std::collections::HashMap::new()),
        ..ServiceSpecMode::default()
    });
    let made = docker.create_service(spec, None).await;
    made.map_err(|e| daemon.failed("make a service on all nodes", e))?;
    let end = Instant::now() + LIMIT;
    loop {
        let options = ListTasksOptions {
            filters: Some([("service".to_owned(), vec![name.to_owned()])].into()),
        };
        let tasks = docker.list_tasks(Some(options)).await;
        let tasks = tasks.map_err(|e| daemon.failed("list tasks", e))?;
        let over = |task: &Task| {
            matches!(
                Standing::of(task),
                Standing::Ended(_) | Standing::Lost { .. }
            )
        };
        let all_over = !tasks.is_empty() && tasks.iter().all(over);
        if !all_over && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        }
        let mut reports = BTreeMap::new();
        for task in &tasks {
            let node = task.node_id.clone().unwrap_or_default();
            reports.insert(node, report(docker, task).await);
        }
        return Ok(reports);
    }
}

async fn report(docker: &Docker, task: &Task) -> Report {
    match Standing::of(task) {
        Standing::Ended(end) if end.code == Some(0) => {}
        Standing::Ended(end) => return Err(end.to_string()),
        Standing::Lost { .. } => return Err("the node was lost meanwhile".to_owned()),
        Standing::Waiting(why) => return Err(why.unwrap_or("it was not placed").to_owned()),
        Standing::Preparing { .. } | Standing::Running { .. } => {
            return Err(format!("it was not done after {} s", LIMIT.as_secs()));
        }
    }
    let options = LogsOptions {
        stdout: true,
        tail: "all".to_owned(),
        ..LogsOptions::default()
    };
    let mut text = Vec::new();
    let id = task.id.as_deref().unwrap_or_default();
    let read = async {
        let mut stream = std::pin::pin!(docker.task_logs(id, Some(options)));
        while let Some(Ok(item)) = stream.next().await {
            if let LogOutput::StdOut { message } = item {
                text.extend_from_slice(&message);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), read)
        .await
        .unwrap_or(());
    serde_json::from_slice(&text).map_err(|_| NO_LOG.to_owned())
}

/// What is told of a node whose containers' output can't be read.
const NO_LOG: &str = "what its container printed can't be read";

fn meetings(
    all: &[Node],
    reports: &BTreeMap<String, Report>,
    image: &str,
    server: &str,
) -> Vec<Finding> {
    let mut found = Vec::new();
    let (mut met_all, mut same_time, mut reached) = (true, true, true);
    let usable: Vec<&Node> = all.iter().filter(|node| node.is_usable()).collect();
    // Each meets itself, too.
    let expected = reports.values().filter(|report| report.is_ok()).count();
    for node in &usable {
        let name = &node.name;
        let met = match reports.get(&node.id) {
            None => {
                found.push(Finding::new(
                    Level::Bad,
                    format!("no container was placed on {name}"),
                    format!(
                        "its processor must be of this machine's kind ({}), and its dockerd must be well",
                        std::env::consts::ARCH
                    ),
                ));
                continue;
            }
            Some(Err(why)) => {
                let mend = if why.contains("No such image") || why.contains("pull") {
                    format!(
                        "push {image} to a registry that the nodes reach, or `docker load` it on {name}; --image \
                             names another one"
                    )
                } else if why == NO_LOG {
                    "the log driver must be one that `docker logs` can read (json-file, local, journald), and the \
                     manager must reach the node"
                        .to_owned()
                } else {
                    format!("the log of dockerd on {name} tells more")
                };
                found.push(Finding::new(
                    Level::Bad,
                    format!("no container of {image} ran on {name}: {why}"),
                    mend,
                ));
                continue;
            }
            Some(Ok(met)) => met,
        };
        if met.skews_us.len() < expected {
            met_all = false;
            found.push(Finding::new(
                Level::Bad,
                format!(
                    "{name} reached {} of {expected} nodes over an overlay network",
                    met.skews_us.len()
                ),
                "open 4789/udp and 7946/tcp+udp between all nodes (4789 is also what some clouds' own networks use: \
                 then `docker swarm init --data-path-port`)",
            ));
        }
        let worst = met
            .skews_us
            .iter()
            .map(|skew| skew.abs())
            .max()
            .unwrap_or(0);
        if worst > SKEW_NOTED {
            same_time = false;
            let level = if worst > SKEW_BAD {
                Level::Bad
            } else {
                Level::Doubtful
            };
            let seconds = worst / 1_000_000;
            found.push(Finding::new(
                level,
                format!("the clock of {name} and that of another node differ by {seconds} s"),
                "run a time service on all nodes (systemd-timesyncd or chrony)",
            ));
        }
        if let Some(why) = &met.server {
            reached = false;
            found.push(Finding::new(
                Level::Bad,
                format!("{name} does not reach the server at {server}: {why}"),
                "is `windlass serve --executor swarm` running, and is that the address of its --nodes-listen? Open \
                 the port in the firewall, or name another address with --nodes-url",
            ));
        }
    }
    if expected == usable.len() && expected > 0 {
        found.push(Finding::good(format!(
            "a container of {image} runs on every node, and its output is read"
        )));
        if met_all {
            found.push(Finding::good(
                "all nodes reach each other over an overlay network",
            ));
        }
        if same_time {
            found.push(Finding::good("their clocks agree"));
        }
        if reached {
            found.push(Finding::good(format!(
                "all nodes reach the server at {server}"
            )));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, role: &str, engine: &str) -> Node {
        Node {
            id: name.to_owned(),
            name: name.to_owned(),
            role: role.to_owned(),
            reachability: (role == "manager").then(|| "reachable".to_owned()),
            state: "ready".to_owned(),
            availability: "active".to_owned(),
            engine: engine.to_owned(),
            ..Node::default()
        }
    }

    fn levels(findings: &[Finding]) -> Vec<Level> {
        findings.iter().map(|f| f.level).collect()
    }

    #[test]
    fn what_is_wrong_is_found_and_what_is_well_is_said() {
        use Level::{Bad, Doubtful, Good};
        let three = [
            node("n1", "manager", "28.2.2"),
            node("n2", "worker", "20.10.24+dfsg1"),
            node("n3", "worker", "19.03.1"),
        ];
        assert_eq!(levels(&managers(&three)), [Doubtful]);
        assert_eq!(levels(&states(&three)), [Good]);
        assert_eq!(levels(&versions(&three)), [Bad, Doubtful]);
        assert_eq!(levels(&versions(&three[..1])), [Good]);
        let mut down = three.clone();
        "down".clone_into(&mut down[1].state);
        "drain".clone_into(&mut down[2].availability);
        assert_eq!(levels(&states(&down)), [Bad, Doubtful]);
        let met = |skews: &[i64], server: Option<&str>| {
            Ok(Met {
                skews_us: skews.to_vec(),
                server: server.map(ToOwned::to_owned),
            })
        };
        let well: BTreeMap<String, Report> = ["n1", "n2", "n3"]
            .map(|n| (n.to_owned(), met(&[0, 1, 2], None)))
            .into();
        assert_eq!(levels(&meetings(&three, &well, "i", "s")), [Good; 4]);
        let ill: BTreeMap<String, Report> = [
            ("n1".to_owned(), met(&[0, 90_000_000], Some("refused"))),
            ("n2".to_owned(), met(&[5], None)),
            ("n3".to_owned(), Err("No such image: i".to_owned())),
        ]
        .into();
        let found = meetings(&three, &ill, "i", "s");
        assert_eq!(levels(&found), [Bad, Bad, Bad, Bad]);
        assert!(found.iter().all(|f| !f.mend.is_empty()));

        // An image that a node has not is no moment of weakness; a race in its kernel's mounts is.
        assert!(moments_of_weakness(&ill).is_empty());
        let mut busy = ill.clone();
        let why = "its container ended (exit code 128, starting container failed: unable to remount dir as \
                   readonly: device or resource busy)";
        busy.insert("n2".to_owned(), Err(why.to_owned()));
        let weak = moments_of_weakness(&busy);
        assert_eq!(weak.keys().collect::<Vec<_>>(), ["n2"]);
        let told = shown_weak(&three, &weak, &well);
        assert_eq!(levels(&told), [Doubtful]);
        assert!(told[0].what.contains(why), "{told:?}");
        // One that never came up is told of once, with the meetings.
        assert!(shown_weak(&three, &weak, &busy).is_empty());
    }
}
