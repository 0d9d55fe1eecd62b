//! The upload service of the fake control: rows in memory that change by the rules of the real
//! service.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use api::{
    code::{Code, Problem},
    v1::{self, upload_service_server::UploadService},
};
use media::layout;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::fake_control::{Event, FakeControl};

/// The row of an upload.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) upload: v1::Upload,
    writer: String,
}

impl Row {
    /// Requests the holder to release the lease.
    fn claim(&mut self) {
        let whole = self.upload.length == Some(self.upload.offset);
        self.upload.claimed = self.upload.held && !whole;
    }
}

/// The recorded events and rows.
#[derive(Clone, Default)]
pub(crate) struct Uploads {
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
    pub(crate) rows: Arc<Mutex<HashMap<String, Row>>>,
    /// Whether every call fails from now on.
    pub(crate) down: Arc<AtomicBool>,
    /// How many calls have failed because of that.
    pub(crate) failed: Arc<AtomicUsize>,
}

impl Uploads {
    pub(crate) fn record(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    /// Claims the lease like a request on another data plane; the holder receives it in the reply
    /// to its next call.
    pub(crate) fn claim(&self, id: &str) {
        self.rows.lock().unwrap().get_mut(id).unwrap().claim();
    }

    fn row(&self, id: &str) -> Result<Row, Status> {
        if self.down.load(Ordering::SeqCst) {
            self.failed.fetch_add(1, Ordering::SeqCst);
            return Err(Problem::new(Code::Unavailable, "down").into());
        }
        let rows = self.rows.lock().unwrap();
        rows.get(id).cloned().ok_or_else(|| Problem::not_found("upload").into())
    }

    fn put(&self, row: Row) -> v1::Upload {
        let upload = row.upload.clone();
        self.rows.lock().unwrap().insert(upload.upload_id.clone(), row);
        upload
    }
}

fn file(root: &Path, upload: &v1::Upload) -> PathBuf {
    let ids = (upload.video_id.parse().unwrap(), upload.upload_id.parse().unwrap());
    root.join(layout::upload_file(ids.0, ids.1))
}

#[tonic::async_trait]
impl UploadService for FakeControl {
    async fn begin_upload(
        &self,
        request: Request<v1::BeginUploadRequest>,
    ) -> Result<Response<v1::BeginUploadResponse>, Status> {
        let authorization = request.metadata().get("authorization");
        if authorization.is_none_or(|value| value != "Bearer good") {
            return Err(Status::unauthenticated("the token is invalid"));
        }
        let message = request.into_inner();
        self.uploads.record(Event::Begun);
        let store = format!("file://{}", self.root().display());
        let upload = v1::Upload {
            upload_id: Uuid::now_v7().to_string(),
            video_id: Self::ID.to_owned(),
            store: store.clone(),
            key: Self::KEY.to_owned(),
            length: message.length,
            metadata: message.metadata,
            part_bytes: 8 << 20,
            held: !message.writer.is_empty(),
            expires_at: Some(prost_types::Timestamp { seconds: 4_000_000_000, nanos: 0 }),
            ..v1::Upload::default()
        };
        let upload = self.uploads.put(Row { upload, writer: message.writer });
        Ok(Response::new(v1::BeginUploadResponse {
            video_id: Self::ID.to_owned(),
            store,
            key: Self::KEY.to_owned(),
            upload: Some(upload),
        }))
    }

    async fn get_upload(
        &self,
        request: Request<v1::GetUploadRequest>,
    ) -> Result<Response<v1::Upload>, Status> {
        let message = request.into_inner();
        let mut row = self.uploads.row(&message.upload_id)?;
        if message.settle {
            row.claim();
        }
        Ok(Response::new(self.uploads.put(row)))
    }

    async fn acquire_upload(
        &self,
        request: Request<v1::AcquireUploadRequest>,
    ) -> Result<Response<v1::AcquireUploadResponse>, Status> {
        let message = request.into_inner();
        let mut row = self.uploads.row(&message.upload_id)?;
        let free = row.writer.is_empty() || row.writer == message.writer;
        let held = free && row.upload.offset == message.offset && !row.upload.complete;
        if held {
            row.writer = message.writer;
            (row.upload.held, row.upload.claimed) = (true, false);
        } else if message.take_over {
            row.claim();
        }
        let upload = Some(self.uploads.put(row));
        Ok(Response::new(v1::AcquireUploadResponse { upload, held }))
    }

    async fn advance_upload(
        &self,
        request: Request<v1::AdvanceUploadRequest>,
    ) -> Result<Response<v1::Upload>, Status> {
        let message = request.into_inner();
        let mut row = self.uploads.row(&message.upload_id)?;
        if row.writer != message.writer || row.upload.offset != message.from {
            return Err(Problem::new(Code::LeaseLost, "lost").into());
        }
        if message.from < message.to {
            // Reported bytes must be durable, or at least stored.
            let stored = std::fs::metadata(file(&self.root(), &row.upload)).unwrap().len();
            assert!(stored >= message.to, "{stored} of {} bytes are there", message.to);
            row.upload.digest = message.digest;
        }
        row.upload.offset = message.to;
        if message.release {
            row.writer.clear();
            row.upload.held = false;
        }
        Ok(Response::new(self.uploads.put(row)))
    }

    async fn complete_upload(
        &self,
        request: Request<v1::CompleteUploadRequest>,
    ) -> Result<Response<v1::Video>, Status> {
        let request = request.into_inner();
        self.uploads.record(Event::Completed(Box::new(request.clone())));
        let rows: Vec<_> = self.uploads.rows.lock().unwrap().values().cloned().collect();
        let meant =
            |row: &Row| request.upload_id.is_empty() || row.upload.upload_id == request.upload_id;
        for mut row in rows.into_iter().filter(meant) {
            let key = self.root().join(Self::KEY);
            std::fs::create_dir_all(key.parent().unwrap()).unwrap();
            std::fs::rename(file(&self.root(), &row.upload), key).unwrap();
            (row.upload.complete, row.upload.held, row.writer) = (true, false, String::new());
            self.uploads.put(row);
        }
        let state = match request.title.as_str() {
            "slow" => v1::VideoState::Probing,
            "given up" => v1::VideoState::Failed,
            _ => v1::VideoState::Uploaded,
        };
        let metadata = v1::VideoMetadata {
            duration_seconds: 2.5,
            format: "mov".to_owned(),
            width: 640,
            height: 360,
            bitrate: 1000,
            fps: 25.0,
            codec: "h264".to_owned(),
        };
        Ok(Response::new(v1::Video {
            video_id: request.video_id,
            state: state.into(),
            metadata: (state == v1::VideoState::Uploaded).then_some(metadata),
            ..v1::Video::default()
        }))
    }

    async fn abort_upload(
        &self,
        _request: Request<v1::AbortUploadRequest>,
    ) -> Result<Response<v1::AbortUploadResponse>, Status> {
        // Deletes all stored bytes, as the real service does.
        let _missing = std::fs::remove_file(self.root().join(Self::KEY));
        for (_, row) in self.uploads.rows.lock().unwrap().drain() {
            let _missing = std::fs::remove_file(file(&self.root(), &row.upload));
        }
        self.uploads.record(Event::Aborted);
        Ok(Response::new(v1::AbortUploadResponse {}))
    }
}
