//! A video plays while it is still being encoded: players start at 0, and the same session
//! continues to the end (rules G1 to G6 of docs/conformance.md).

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    conformance::{Phase, dash, hls},
    harness::{
        CHANGE_DEADLINE,
        browser::Play,
        capture::{Capture, resolve},
        client::Client,
        clip::Numbered,
        eventually, m3u8, program,
        script::{Behaviour, Ffmpeg},
        stack::Stack,
    },
};

/// Long enough that several chunks are not encoded yet when playback begins.
const SECONDS: u32 = 30;
/// The MPD stays dynamic for a while after the end, so that players see its last segments.
const SETTLE_DEADLINE: Duration = Duration::from_secs(25);
const ENCODE_DEADLINE: Duration = Duration::from_secs(180);

/// Captures the MPD once it is static.
pub(crate) async fn settled_dash(client: &Client, manifest: &str) -> Capture {
    eventually("the MPD becomes static", SETTLE_DEADLINE, async || {
        let reply = client.get(manifest).await.expect(200);
        reply.text().contains("type=\"static\"").then_some(())
    })
    .await;
    Capture::dash(client, manifest).await
}

/// Captures the MPD in its last form, with sets for trick play.
pub(crate) async fn last_dash(client: &Client, manifest: &str) -> Capture {
    eventually("the MPD lists key frames", SETTLE_DEADLINE, async || {
        let reply = client.get(manifest).await.expect(200);
        reply.text().contains("trickmode").then_some(())
    })
    .await;
    Capture::dash(client, manifest).await
}

/// Uploads a clip to a service whose encodes are slow and starts a job; returns the ids of video and
/// job.
async fn slow_job(stack: &Stack, clip: Numbered) -> (String, String) {
    let clip = clip.file();
    let client = stack.client();
    let video = client.upload_clip(&clip).await;
    let job = client.transcode(&video, &json!({})).await;
    (video, job)
}

async fn slow_stack(seconds: u32) -> (Stack, Ffmpeg) {
    let mut stack = Stack::new(&[("STREAMING_WORKER_SLOTS", "1")]);
    let script = Ffmpeg::new(stack.beside(), Behaviour::Slow(seconds));
    stack.set("STREAMING_FFMPEG", script.path());
    stack.up().await;
    (stack, script)
}

/// Plays a video as soon as it is playable; the job must still be running when playback has begun.
async fn plays_while_growing(player: &'static str, kind: &str) {
    let (stack, _script) = slow_stack(5).await;
    let clip = Numbered { width: 640, height: 360, ..Numbered::seconds(SECONDS) };
    let (video, job) = slow_job(&stack, clip).await;
    let name = if kind == "hls" { "hls/playlist.m3u8" } else { "dash/manifest.mpd" };
    let manifest = format!("/api/stream/{video}/{name}");
    let viewer = stack.anonymous();
    eventually("the first chunk is playable", ENCODE_DEADLINE, async || {
        (viewer.get(&manifest).await.status == 200).then_some(())
    })
    .await;
    let start = (kind == "dash").then_some(0.0);
    let deadline = Duration::from_secs(150);
    let play = Play { player, manifest, start, switches: Vec::new(), text: None, deadline };
    let mut session = play.begin(&stack.http);
    session.until("tick", 1.0).await;
    let state = stack.client().job(&job).await;
    assert_eq!(state["state"], "running", "the video must still be growing: {state:#}");
    let report = session.finish().await;
    stack.client().wait_job(&job, "completed", ENCODE_DEADLINE).await;
    report.assert_played(f64::from(SECONDS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn growing_video_plays_through_in_hls_js() {
    plays_while_growing("hls.js", "hls").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn growing_video_plays_through_in_shaka_by_hls() {
    plays_while_growing("shaka", "hls").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn growing_video_plays_through_in_shaka_by_dash() {
    plays_while_growing("shaka", "dash").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn growing_video_plays_through_in_dash_js() {
    plays_while_growing("dash.js", "dash").await;
}

/// Viewers who start right after the encode reach the end while the MPD is still dynamic; the
/// player must end there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn video_that_has_just_become_final_ends_in_dash_js() {
    let stack = Stack::start().await;
    for seconds in [3, 6] {
        let clip = Numbered { width: 640, height: 360, ..Numbered::seconds(seconds) }.file();
        let (video, _) = stack.client().publish(&clip, ENCODE_DEADLINE).await;
        let manifest = format!("/api/stream/{video}/dash/manifest.mpd");
        let deadline = Duration::from_secs(30);
        let play = Play {
            player: "dash.js",
            manifest,
            start: Some(0.0),
            switches: Vec::new(),
            text: None,
            deadline,
        };
        play.run(&stack.http).await.assert_played(f64::from(seconds));
    }
}

/// FFmpeg never ends a session that began with a dynamic MPD.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn video_that_has_just_become_final_ends_in_ffmpeg_by_dash() {
    let stack = Stack::start().await;
    let clip = Numbered { width: 640, height: 360, ..Numbered::seconds(30) }.file();
    let (video, _) = stack.client().publish(&clip, ENCODE_DEADLINE).await;
    let url = format!("http://{}/api/stream/{video}/dash/manifest.mpd", stack.http);
    let args = ["20", "ffmpeg", "-v", "error", "-i", &url, "-c", "copy", "-f", "framecrc", "-"];
    let packets = String::from_utf8(program::output("timeout", &args)).expect("UTF-8");
    let pictures = packets.lines().filter(|line| line.starts_with("0,"));
    assert_eq!(pictures.count(), 30 * 25, "{packets}");
}

/// Seconds by which the first chunks may be late: a task must run for some seconds before it is
/// known to be slow.
const MEASURING_SECONDS: f64 = 20.0;

/// The highest rung takes 30 s per chunk, of which most last 20 s. The lowest rung needs a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lowest_rung_grows_as_fast_as_it_plays_while_a_higher_one_is_too_slow() {
    let mut stack = Stack::new(&[("STREAMING_WORKER_SLOTS", "2")]);
    let script = Ffmpeg::new(stack.beside(), Behaviour::SlowRung("480p", 30));
    stack.set("STREAMING_FFMPEG", script.path());
    stack.up().await;
    let clip = Numbered { width: 854, height: 480, ..Numbered::seconds(90) }.file();
    let video = stack.client().upload_clip(&clip).await;
    let job = stack.client().transcode(&video, &json!({})).await;
    let viewer = stack.anonymous();
    let lowest = eventually("the lowest rung is playable", ENCODE_DEADLINE, async || {
        let path = format!("/api/stream/{video}/hls/playlist.m3u8");
        let reply = viewer.get(&path).await;
        if reply.status != 200 {
            return None;
        }
        let playlists = event_playlists(&viewer, &path).await;
        playlists.into_iter().find(|path| path.contains("/360p/"))
    })
    .await;
    let start = Instant::now();
    loop {
        let text = viewer.get(&lowest).await.expect(200).text();
        let list = m3u8::media(&text).expect("media playlist");
        let (encoded, played) =
            (list.segments.iter().map(|s| s.duration).sum::<f64>(), start.elapsed().as_secs_f64());
        assert!(encoded + MEASURING_SECONDS >= played, "{encoded} s are encoded after {played} s");
        if encoded >= 89.9 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let tasks = stack.client().job(&job).await;
    assert_eq!(tasks["state"], "running", "the higher rung is behind: {tasks:#}");
    // From here on at full speed. Everything is there once.
    script.set(Behaviour::Unchanged);
    stack.client().wait_job(&job, "completed", ENCODE_DEADLINE).await;
    let hls_path = format!("/api/stream/{video}/hls/playlist.m3u8");
    hls::check(&Capture::hls(&viewer, &hls_path).await, Phase::Final).assert_none("final HLS");
}

/// Follows every playlist of a growing video: the rules hold at each poll, and a listed segment is
/// never removed or changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn growing_manifests_conform_and_only_grow() {
    let (stack, _script) = slow_stack(3).await;
    // Four chunks, so that the playlists grow often enough while it is encoded.
    let clip = Numbered { width: 854, height: 480, ..Numbered::seconds(46) };
    let (video, job) = slow_job(&stack, clip).await;
    let viewer = stack.anonymous();
    let (hls_path, dash_path) = (
        format!("/api/stream/{video}/hls/playlist.m3u8"),
        format!("/api/stream/{video}/dash/manifest.mpd"),
    );
    eventually("HLS is playable", ENCODE_DEADLINE, async || {
        (viewer.get(&hls_path).await.status == 200).then_some(())
    })
    .await;
    let session = event_playlists(&viewer, &hls_path).await;
    let mut before: Vec<Vec<String>> = vec![Vec::new(); session.len()];
    let mut looks = 0;
    loop {
        let done = ended(&viewer, &session[0]).await;
        let now = segments(&viewer, &session).await;
        for (path, (before, now)) in session.iter().zip(before.iter().zip(&now)) {
            assert!(now.starts_with(before), "{path} took back a segment: {before:#?} {now:#?}");
        }
        before = now;
        if done {
            break;
        }
        let growing = Capture::hls(&viewer, &hls_path).await;
        let dash = match viewer.get(&dash_path).await.status {
            200 => Some(Capture::dash(&viewer, &dash_path).await),
            _ => None,
        };
        let ends = ends(&viewer, &hls_path).await;
        if !ended(&viewer, &session[0]).await {
            hls::check(&growing, Phase::Growing).assert_none("growing HLS");
            if let Some(dash) = dash {
                dash::check(&dash, Phase::Growing).assert_none("growing DASH");
            }
            let apart =
                ends.map(|ends| ends.iter().max().zip(ends.iter().min()).map(|(a, b)| a - b));
            assert!(apart.flatten().unwrap_or(0) <= 1, "rule G6: {apart:?}");
            looks += 1;
        }
        eventually("a playlist grows or ends", ENCODE_DEADLINE, async || {
            let grown = segments(&viewer, &session).await != before;
            (grown || ended(&viewer, &session[0]).await).then_some(())
        })
        .await;
    }
    assert!(looks >= 3, "only {looks} looks found the video growing");
    stack.client().wait_job(&job, "completed", ENCODE_DEADLINE).await;
    for path in &session {
        eventually(
            &format!("{path} has its end once the renditions are complete"),
            CHANGE_DEADLINE,
            async || {
                let text = viewer.get(path).await.expect(200).text();
                m3u8::media(&text).expect("media playlist").end.then_some(())
            },
        )
        .await;
    }
    hls::check(&Capture::hls(&viewer, &hls_path).await, Phase::Final).assert_none("final HLS");
    let last = settled_dash(&viewer, &dash_path).await;
    dash::check(&last, Phase::Final).assert_none("final DASH");
}

/// Whether a media playlist has its end.
async fn ended(viewer: &Client, playlist: &str) -> bool {
    let text = viewer.get(playlist).await.expect(200).text();
    m3u8::media(&text).expect("media playlist").end
}

/// The number of segments of each playlist that a session which starts now reads; `None` when one
/// has changed meanwhile.
async fn ends(viewer: &Client, multivariant: &str) -> Option<Vec<usize>> {
    let linked = event_playlists(viewer, multivariant).await;
    let mut looks = [Vec::new(), Vec::new()];
    for look in &mut looks {
        for path in &linked {
            let text = viewer.get(path).await.expect(200).text();
            look.push(m3u8::media(&text).expect("media playlist").segments.len());
        }
    }
    let [ends, again] = looks;
    (ends == again).then_some(ends)
}

/// The segments that each of the playlists lists, with their durations.
async fn segments(viewer: &Client, playlists: &[String]) -> Vec<Vec<String>> {
    let mut lists = Vec::new();
    for path in playlists {
        let text = viewer.get(path).await.expect(200).text();
        let playlist = m3u8::media(&text).expect("media playlist");
        assert_eq!(playlist.kind.as_deref(), Some("EVENT"), "{path} changed its type");
        let segments = playlist.segments.iter().map(|s| format!("{} {}", s.uri, s.duration));
        lists.push(segments.collect());
    }
    lists
}

/// The media playlists that a session which starts now keeps reloading.
async fn event_playlists(viewer: &Client, multivariant: &str) -> Vec<String> {
    let text = viewer.get(multivariant).await.expect(200).text();
    let playlist = m3u8::multivariant(&text).expect("multivariant playlist");
    let sounds = playlist.media.iter().filter_map(|media| media.get("URI"));
    let uris = playlist.variants.iter().map(|(_, uri)| uri.as_str());
    let all = uris.chain(sounds.filter_map(|uri| m3u8::unquoted(uri)));
    all.map(|uri| resolve(multivariant, uri)).collect()
}
