//! The text tracks of a video: those that its served job took out of the source, and uploaded ones. Pure.

use std::collections::{HashMap, HashSet};

use media::{
    CaptionId, JobId,
    captions::{Described, TextTrack, file_name, listed},
    pictures::Picture,
};

use crate::{db::captions::Uploaded, plan::PlannedText};

/// Uploaded text tracks of one video.
pub const CAPTIONS_PER_VIDEO_MAX: i64 = 64;

/// What people see of a video's tracks: of the embedded ones those that are `made`, by their names among
/// the job's pictures.
pub fn described(
    embedded: Option<(JobId, &[PlannedText])>,
    made: &HashSet<&str>,
    uploads: Vec<Described>,
) -> Vec<Described> {
    let mut tracks = Vec::new();
    if let Some((job, planned)) = embedded {
        let there = planned.iter().filter(|text| made.contains(file_name(text.number).as_str()));
        tracks.extend(there.map(|text| (text.described(job), false)));
    }
    tracks.extend(uploads.into_iter().map(|upload| (upload, true)));
    listed(tracks)
}

/// The tracks of an index.
pub fn tracks(
    job: JobId,
    planned: &[PlannedText],
    made: &HashMap<String, Picture>,
    uploads: Vec<Uploaded>,
) -> Vec<TextTrack> {
    let names: HashSet<&str> = made.keys().map(String::as_str).collect();
    let mut objects: HashMap<CaptionId, Picture> = HashMap::new();
    for text in planned {
        if let Some(picture) = made.get(&file_name(text.number)) {
            objects.insert(text.described(job).id, picture.clone());
        }
    }
    let mut abouts = Vec::with_capacity(uploads.len());
    for Uploaded { about, object } in uploads {
        objects.insert(about.id, object);
        abouts.push(about);
    }
    let described = described(Some((job, planned)), &names, abouts);
    let with_object =
        |about: Described| Some(TextTrack { object: objects.remove(&about.id)?, about });
    described.into_iter().filter_map(with_object).collect()
}
