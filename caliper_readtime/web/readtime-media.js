// Play time of one video or audio element: tells readtime.js whether what the page's tag names (data-media) plays, and
// how much of it has been played.
// readtime-media.min.js is built from this file: python -m tests.browser.build
var readtimeMedia = readtimeMedia || (() => {
  const LOOK = 1000; // milliseconds
  const FUTURE_DATA = 3;
  let time; // at which it was at the last look

  const tell = (event) => {
    const [media] = [...document.querySelectorAll("script[data-media]")] // tags of earlier articles may still be there
      .map((tag) => document.querySelector(tag.dataset.media))
      .filter((named) => named?.played);
    if (!media) return self.readtime?.playing(false); // it has gone, without an event that is heard here
    const { paused, seeking, playbackRate, readyState, currentTime, duration, played } = media;
    const waits = event?.type == "waiting";
    // What moves plays: WebKit says of what plays at another rate that it waits for data.
    const moves = !waits && (currentTime != time || (event && readyState >= FUTURE_DATA));
    if (!event || waits || seeking) time = currentTime;
    // What was jumped over was not played.
    let part = 0;
    for (let range = 0; range < played.length; range++) part += (played.end(range) - played.start(range)) / duration;
    self.readtime?.playing(!(paused || seeking || !playbackRate) && moves, part);
  };

  // These do not bubble, but capturing on the window hears them.
  for (const type of ["playing", "pause", "seeking", "seeked", "waiting", "timeupdate", "ratechange", "emptied"])
    addEventListener(type, tell, true);
  setInterval(tell, LOOK);
  return true; // pages that swap their body run this again
})();
