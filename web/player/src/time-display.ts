/** Position and duration; a click shows the remaining time. */

import MediaTimeDisplay from 'media-chrome/dist/media-time-display.js';

/**
 * `<stream-time-display>`: media-chrome's display, named by its visible text. The label of media-chrome does not contain
 * that text, so people who control the browser by speech could not name the button (WCAG 2.2, 2.5.3).
 */
export class TimeDisplay extends MediaTimeDisplay {
  override connectedCallback(): void {
    super.connectedCallback();
    this.removeAttribute('aria-label');
  }

  override update(): void {
    super.update();
    this.removeAttribute('aria-label');
  }
}

if (!customElements.get('stream-time-display')) customElements.define('stream-time-display', TimeDisplay);
