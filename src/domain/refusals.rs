//! What a camera's refusals mean, and what to do about them: the same words whether lss has asked, or
//! FFmpeg.

/// 401, though a login was sent.
pub const LOGIN: &str = "the camera refused the login (RTSP 401)";
/// 403
pub const DENIED: &str = "the camera denied this user the stream (RTSP 403)";
/// 404
pub const NO_STREAM: &str = "the camera has no such stream (RTSP 404): check the path of sourceUrl";
/// 406
pub const NOT_DESCRIBED: &str = "the camera can't describe this stream (RTSP 406): is the path of \
    sourceUrl right, is the channel switched on?";
/// 453
pub const NO_PLACE: &str = "the camera has no free viewer place (RTSP 453): end another viewer or \
    recorder, or raise its limit";
/// 461
pub const NOT_OVER_TCP: &str = "the camera does not send over TCP (RTSP 461): switch on RTP over RTSP \
    (interleaved) in it";
/// 503
pub const NOT_NOW: &str = "the camera can't serve the stream now (RTSP 503): is it starting, is it \
    asked by too many?";

/// The words for a status other than that of a refused login, where there are any.
pub fn words(status: u16) -> Option<&'static str> {
    Some(match status {
        403 => DENIED,
        404 => NO_STREAM,
        406 => NOT_DESCRIBED,
        453 => NO_PLACE,
        461 => NOT_OVER_TCP,
        503 => NOT_NOW,
        _ => return None,
    })
}
