/** How a page is measured; the classic script reads the same names from data attributes of its own tag. */
export interface Options {
  /** Where signals go: a path or URL; another origin must trust this page's. */
  url: string;
  /** The signed ticket that the page was rendered with. */
  ticket: string;
  /** Seconds of reading between two signals. Default 10. */
  heartbeat?: number | string;
  /** When the ticket was issued, by the server's clock, in seconds since 1970: judges which records are too old. */
  opened?: number | string;
  /** Seconds without pointer, wheel, key, input, selection or focus after which reading pauses; at least 120. Default: never. */
  idle?: number | string;
  /** Seconds of reading after which the article counts as read. Default: never. */
  dwell?: number | string;
  /** Part of the article, 0 to 1, that has been on screen when it counts as read. Default: never. */
  depth?: number | string;
  /**
   * CSS selector of the article: of it depth counts, in a frame it has to be in sight, and the view ends with it.
   * Default: the document.
   */
  article?: string;
  /**
   * Time counts only while something plays, and how much of it has been played counts in place of what was on screen.
   * In a tag the CSS selector of a video or audio element, of which readtime-media.js tells; otherwise true, and you
   * call `playing`.
   */
  media?: string | boolean;
}

/**
 * Begin a page view. A second call with the same ticket does nothing; one with another ticket begins the next view.
 * It ends by itself when its article leaves the document, or the path changes.
 */
export function start(options: Options): void;

/** End the page view and send what it has. */
export function stop(): void;

/** Say that the reader is active, and optionally how far they are (0 to 1): for articles in an iframe or a canvas. */
export function touch(position?: number): void;

/**
 * Say whether what the option `media` names plays, and optionally how much of it has been played so far (0 to 1).
 * Without the option it does nothing.
 */
export function playing(plays: boolean, position?: number): void;

/** The classic script puts the same four functions on the global `readtime`. */
export as namespace readtime;
