//! The words that the database, the wire and the logs share: states and kinds. No I/O.

use api::v1;

/// Where a video stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoState {
    /// Reserved; the source has not arrived.
    Uploading,
    /// Stored; no worker has looked at it yet.
    Probing,
    /// Known to be a video.
    Uploaded,
    /// A transcode is under way.
    Processing,
    /// Complete.
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

    /// As the database and people write it.
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

    /// Reads the text back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.text() == text)
    }
}

impl From<VideoState> for v1::VideoState {
    fn from(state: VideoState) -> Self {
        match state {
            VideoState::Uploading => Self::Uploading,
            VideoState::Probing => Self::Probing,
            VideoState::Uploaded => Self::Uploaded,
            VideoState::Processing => Self::Processing,
            VideoState::Ready => Self::Ready,
            VideoState::Failed => Self::Failed,
        }
    }
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// No task has been leased yet.
    Queued,
    /// Some task has been leased.
    Running,
    /// Everything is committed and indexed.
    Completed,
    /// A task failed for good.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
}

impl JobState {
    const ALL: [Self; 5] =
        [Self::Queued, Self::Running, Self::Completed, Self::Failed, Self::Cancelled];

    /// As the database and people write it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads the text back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.text() == text)
    }

    /// Nothing more happens to it by itself.
    pub const fn ended(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

impl From<JobState> for v1::JobState {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Queued => Self::Queued,
            JobState::Running => Self::Running,
            JobState::Completed => Self::Completed,
            JobState::Failed => Self::Failed,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Waits for other tasks of the job.
    Blocked,
    /// May be leased.
    Ready,
    /// Somebody works on it.
    Leased,
    /// Committed.
    Done,
    /// No further attempt is made.
    Failed,
    /// The job ended before the task did.
    Cancelled,
}

impl TaskState {
    const ALL: [Self; 6] =
        [Self::Blocked, Self::Ready, Self::Leased, Self::Done, Self::Failed, Self::Cancelled];

    /// As the database and people write it.
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

    /// Reads the text back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.text() == text)
    }
}

impl From<TaskState> for v1::TaskState {
    fn from(state: TaskState) -> Self {
        match state {
            TaskState::Blocked => Self::Blocked,
            TaskState::Ready => Self::Ready,
            TaskState::Leased => Self::Leased,
            TaskState::Done => Self::Done,
            TaskState::Failed => Self::Failed,
            TaskState::Cancelled => Self::Cancelled,
        }
    }
}

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKind {
    /// Looks at an uploaded source.
    Probe,
    /// Encodes one chunk at one or more rungs.
    Chunk,
    /// Encodes one audio track.
    Audio,
    /// Takes one text track out of the source.
    Subtitles,
    /// Makes poster, thumbnails and storyboard.
    Thumbnails,
    /// Makes the preview clip.
    Preview,
    /// Control's own: writes the final index.
    Collect,
}

impl TaskKind {
    const ALL: [Self; 7] = [
        Self::Probe,
        Self::Chunk,
        Self::Audio,
        Self::Subtitles,
        Self::Thumbnails,
        Self::Preview,
        Self::Collect,
    ];
    /// What workers lease.
    pub const LEASED: [Self; 6] =
        [Self::Probe, Self::Chunk, Self::Audio, Self::Subtitles, Self::Thumbnails, Self::Preview];

    /// As the database and people write it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Chunk => "chunk",
            Self::Audio => "audio",
            Self::Subtitles => "subtitles",
            Self::Thumbnails => "thumbnails",
            Self::Preview => "preview",
            Self::Collect => "collect",
        }
    }

    /// Reads the text back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.text() == text)
    }

    /// The film is worth having without it: when it fails for good, the job goes on.
    pub const fn optional(self) -> bool {
        matches!(self, Self::Subtitles | Self::Thumbnails | Self::Preview)
    }
}

/// A stable code for programs and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For example "worker_lost".
    pub code: String,
    /// Never holds paths, addresses or SQL.
    pub message: String,
}

/// The verdicts of a probe that blame the source: a closed list.
const REFUSALS: [&str; 2] = [NOT_A_VIDEO, "truncated_source"];
const NOT_A_VIDEO: &str = "not_a_video";

impl Failure {
    /// Both parts.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }

    /// Whether the source is to blame for a probe that ended so.
    pub fn blames_source(&self) -> bool {
        REFUSALS.contains(&self.code.as_str())
    }

    /// A finding about the bytes as the verdict on their source.
    pub fn refusal(&self) -> Self {
        let code = if self.blames_source() { &self.code } else { NOT_A_VIDEO };
        Self::new(code, &self.message)
    }
}

impl From<Failure> for v1::Failure {
    fn from(failure: Failure) -> Self {
        Self { code: failure.code, message: failure.message }
    }
}

/// Whose request it is, as far as rows are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Rows of other tenants do not exist for it.
    pub tenant: String,
    /// The subject of its token.
    pub subject: String,
}
