//! The text tracks of a video: those that its served job extracted from the source, and uploaded
//! ones. Pure functions.

use std::collections::{HashMap, HashSet};

use media::{
    CaptionId, JobId,
    captions::{Described, TextTrack, file_name, listed},
    pictures::Picture,
};

use crate::{db::captions::Uploaded, plan::PlannedText};

/// Maximum number of uploaded text tracks of one video.
pub const CAPTIONS_PER_VIDEO_MAX: i64 = 64;

/// Describes the text tracks of a video for the API. An embedded track is listed if `made`, the
/// names of the job's images and text tracks, contains its file name.
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

/// The text tracks for the index.
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
