//! States and kinds whose names the database, the protocol and the logs share. No I/O.

/// The operator's tenant. Only its admins may mint tokens for other tenants and for planes.
pub const OPERATOR_TENANT: &str = "default";

/// The state of a video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoState {
    /// Created; its source has not been uploaded completely.
    Uploading,
    /// The source is stored and has not been probed yet.
    Probing,
    /// The probe found a supported video.
    Uploaded,
    /// A transcode is running.
    Processing,
    /// The transcode is complete.
    Ready,
    /// The probe or the transcode failed.
    Failed,
}

impl VideoState {
    const ALL: [Self; 6] = [
        Self::Uploading,
        Self::Probing,
        Self::Uploaded,
        Self::Processing,
        Self::Ready,
        Self::Failed,
    ];

    /// The name in the database and in texts for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Uploading => "uploading",
            Self::Probing => "probing",
            Self::Uploaded => "uploaded",
            Self::Processing => "processing",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }

    /// The inverse of [`Self::text`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.text() == text)
    }
}

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// No task has been leased yet.
    Queued,
    /// Some task has been leased.
    Running,
    /// All outputs are committed and indexed.
    Completed,
    /// A task that is not optional has failed permanently.
    Failed,
    /// Cancelled on request.
    Cancelled,
}

impl JobState {
    const ALL: [Self; 5] =
        [Self::Queued, Self::Running, Self::Completed, Self::Failed, Self::Cancelled];

    /// The name in the database and in texts for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The inverse of [`Self::text`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.text() == text)
    }

    /// Whether the job has ended; only a retry starts it again.
    pub const fn ended(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// The state of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Waits for other tasks of the job.
    Blocked,
    /// May be leased.
    Ready,
    /// A worker, or control itself, holds its lease.
    Leased,
    /// Its output is committed.
    Done,
    /// Failed permanently; no further attempt is made.
    Failed,
    /// The job ended before the task did.
    Cancelled,
}

impl TaskState {
    const ALL: [Self; 6] =
        [Self::Blocked, Self::Ready, Self::Leased, Self::Done, Self::Failed, Self::Cancelled];

    /// The name in the database and in texts for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Ready => "ready",
            Self::Leased => "leased",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The inverse of [`Self::text`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.text() == text)
    }
}

/// The kind of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKind {
    /// Examines an uploaded source.
    Probe,
    /// Encodes one chunk in one or more renditions.
    Chunk,
    /// Encodes one audio track.
    Audio,
    /// Makes the surround rendition of one audio track.
    Surround,
    /// Extracts one text track from the source.
    Subtitles,
    /// Makes the poster, thumbnails and storyboard.
    Thumbnails,
    /// Makes the preview clip.
    Preview,
    /// Finalizes the job: control itself writes the final index.
    Collect,
}

/// The tasks of the same job that a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prerequisite {
    /// None: the task can run immediately.
    Nothing,
    /// Those that make renditions.
    Renditions,
    /// All others; optional ones may also have failed.
    AllTasks,
}

/// The matches without a wildcard decide every property of a kind, so that a new kind does not
/// compile until each of them is decided. No other list of kinds may be written down, in particular
/// not in SQL: statements bind the kinds that have a property.
impl TaskKind {
    /// The number of kinds; the size of [`Self::ALL`].
    const COUNT: usize = match Self::Probe {
        Self::Probe
        | Self::Chunk
        | Self::Audio
        | Self::Surround
        | Self::Subtitles
        | Self::Thumbnails
        | Self::Preview
        | Self::Collect => 8,
    };
    /// Every kind. The CHECK constraint of `tasks.kind` lists the same ones.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Probe,
        Self::Chunk,
        Self::Audio,
        Self::Surround,
        Self::Subtitles,
        Self::Thumbnails,
        Self::Preview,
        Self::Collect,
    ];

    /// The kinds that have a property, for example
    /// `TaskKind::with_property(TaskKind::is_optional)`.
    pub fn with_property(has: impl Fn(Self) -> bool) -> Vec<Self> {
        Self::ALL.into_iter().filter(|kind| has(*kind)).collect()
    }

    /// The name in the database and in texts for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Chunk => "chunk",
            Self::Audio => "audio",
            Self::Surround => "surround",
            Self::Subtitles => "subtitles",
            Self::Thumbnails => "thumbnails",
            Self::Preview => "preview",
            Self::Collect => "collect",
        }
    }

    /// The inverse of [`Self::text`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.text() == text)
    }

    /// Whether workers run the task; control runs the others.
    pub const fn is_for_workers(self) -> bool {
        match self {
            Self::Probe
            | Self::Chunk
            | Self::Audio
            | Self::Surround
            | Self::Subtitles
            | Self::Thumbnails
            | Self::Preview => true,
            Self::Collect => false,
        }
    }

    /// Whether the task is optional: if it fails permanently, the job completes without its output.
    pub const fn is_optional(self) -> bool {
        match self {
            Self::Surround | Self::Subtitles | Self::Thumbnails | Self::Preview => true,
            Self::Probe | Self::Chunk | Self::Audio | Self::Collect => false,
        }
    }

    /// The tasks of its job that the task waits for.
    pub const fn prerequisite(self) -> Prerequisite {
        match self {
            Self::Probe | Self::Chunk | Self::Audio | Self::Surround | Self::Subtitles => {
                Prerequisite::Nothing
            }
            Self::Thumbnails | Self::Preview => Prerequisite::Renditions,
            Self::Collect => Prerequisite::AllTasks,
        }
    }

    /// The state in which the task is created.
    pub const fn first_state(self) -> TaskState {
        match self.prerequisite() {
            Prerequisite::Nothing => TaskState::Ready,
            Prerequisite::Renditions | Prerequisite::AllTasks => TaskState::Blocked,
        }
    }

    /// Whether the task makes renditions of which images and the preview are made.
    pub const fn makes_renditions(self) -> bool {
        match self {
            Self::Chunk | Self::Audio => true,
            Self::Probe
            | Self::Surround
            | Self::Subtitles
            | Self::Thumbnails
            | Self::Preview
            | Self::Collect => false,
        }
    }

    /// Whether the task encodes moving pictures or audio, which takes most of a worker's time.
    pub const fn is_encoding(self) -> bool {
        match self {
            Self::Chunk | Self::Audio | Self::Surround | Self::Preview => true,
            Self::Probe | Self::Subtitles | Self::Thumbnails | Self::Collect => false,
        }
    }

    /// Whether the task reads an excerpt of finished renditions instead of the source.
    pub const fn reads_excerpt(self) -> bool {
        match self {
            Self::Thumbnails | Self::Preview => true,
            Self::Probe
            | Self::Chunk
            | Self::Audio
            | Self::Surround
            | Self::Subtitles
            | Self::Collect => false,
        }
    }

    /// Whether the task examines a source before there is a plan. Only workers that can probe get
    /// it, its failures may reject the source, and its user waits for it.
    pub const fn examines_source(self) -> bool {
        match self {
            Self::Probe => true,
            Self::Chunk
            | Self::Audio
            | Self::Surround
            | Self::Subtitles
            | Self::Thumbnails
            | Self::Preview
            | Self::Collect => false,
        }
    }
}

/// Why a task, job or video failed: a stable code for programs and a message for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The stable code, for example "worker_lost".
    pub code: String,
    /// The message; never contains paths, addresses or SQL.
    pub message: String,
}

/// The only error codes of a probe that attribute the failure to the source.
const SOURCE_ERROR_CODES: [&str; 3] = [NOT_A_VIDEO, "truncated_source", "too_many_recordings"];
const NOT_A_VIDEO: &str = "not_a_video";

impl Failure {
    /// A failure with this code and message.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }

    /// Whether a probe that failed with this code attributes the failure to the source.
    pub fn is_source_error(&self) -> bool {
        SOURCE_ERROR_CODES.contains(&self.code.as_str())
    }

    /// This failure, found in the source's bytes, as the reason to reject the source.
    pub fn as_rejection(&self) -> Self {
        let code = if self.is_source_error() { &self.code } else { NOT_A_VIDEO };
        Self::new(code, &self.message)
    }
}

/// The tenant and subject of a request, for access to rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The tenant; rows of other tenants are treated as unknown.
    pub tenant: String,
    /// The subject of the request's token.
    pub subject: String,
}
