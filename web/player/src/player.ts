/** Placeholder of `<stream-player>`: a plain video element with the given source. */
class StreamPlayer extends HTMLElement {
  connectedCallback(): void {
    const video = document.createElement('video');
    video.controls = true;
    video.src = this.getAttribute('src') ?? '';
    this.replaceChildren(video);
  }
}

if (!customElements.get('stream-player')) customElements.define('stream-player', StreamPlayer);
export { StreamPlayer };
