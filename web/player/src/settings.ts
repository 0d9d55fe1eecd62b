/** The settings panel: quality, audio, speed, text tracks and their look, keyboard shortcuts. */

import { preferences, type TextStyle } from './preferences';
import type { Messages } from './messages';
import type { Engine } from './engine';
import type { TextTracks } from './text';
import { fill } from './messages';

/** The speeds to choose from. */
export const SPEEDS = [0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2];

const STYLES: { [Key in keyof TextStyle]: TextStyle[Key][] } = {
  size: ['small', 'medium', 'large', 'huge'],
  colour: ['white', 'yellow', 'cyan', 'green'],
  background: ['solid', 'half', 'none']
};

type Option = [value: string, label: string];

/** The state that the panel shows and changes. */
export interface Subject {
  readonly engine: Engine | null;
  readonly video: HTMLVideoElement;
  readonly text: TextTracks;
  readonly messages: Messages;
}

/** Opens, fills and closes the panel. */
export class Settings {
  private content = '';

  constructor(
    private readonly panel: HTMLElement,
    private readonly button: HTMLElement,
    private readonly subject: Subject
  ) {
    button.addEventListener('click', () => (this.open ? this.close() : this.show()));
    panel.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') this.close();
      event.stopPropagation();
    });
    panel.getRootNode().addEventListener('pointerdown', (event) => {
      const within = event.composedPath().some((target) => target === panel || target === button);
      if (!within) this.close(false);
    });
  }

  private get open(): boolean {
    return !this.panel.hidden;
  }

  private show(): void {
    this.panel.hidden = false;
    this.content = '';
    this.button.setAttribute('aria-expanded', 'true');
    this.fill();
    this.panel.querySelector<HTMLElement>('select, input')?.focus();
  }

  /** Closes the panel. */
  close(focus = true): void {
    if (!this.open) return;
    this.panel.hidden = true;
    this.button.setAttribute('aria-expanded', 'false');
    if (focus) this.button.focus();
  }

  /** Shows the current choices, if the panel is open. */
  refresh(): void {
    if (this.open) this.fill();
  }

  private fill(): void {
    const { messages, text } = this.subject;
    const focused = (this.panel.getRootNode() as ShadowRoot).activeElement?.getAttribute('name');
    const rows = [this.head(), ...this.playback()];
    if (text.choices.some((choice) => !choice.forced)) rows.push(...this.textRows());
    rows.push(this.shortcuts(messages));
    // An open list of options closes when it is replaced, so that happens only for another content.
    const content = rows.map((row) => row.outerHTML).join('');
    if (content === this.content) return;
    this.content = content;
    this.panel.replaceChildren(...rows);
    if (focused) this.panel.querySelector<HTMLElement>(`[name="${focused}"]`)?.focus();
  }

  private head(): HTMLElement {
    const head = document.createElement('div');
    head.className = 'head';
    head.innerHTML = '<h2></h2><button type="button" class="icon" name="close"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="m6.4 5 5.6 5.6L17.6 5 19 6.4 13.4 12l5.6 5.6-1.4 1.4-5.6-5.6L6.4 19 5 17.6l5.6-5.6L5 6.4Z"/></svg></button>';
    head.querySelector('h2')!.textContent = this.subject.messages.settings;
    const close = head.querySelector('button')!;
    close.setAttribute('aria-label', this.subject.messages.close);
    close.addEventListener('click', () => this.close());
    return head;
  }

  private playback(): HTMLElement[] {
    const { engine, video, messages } = this.subject;
    const rows: HTMLElement[] = [];
    const qualities = engine?.qualities ?? [];
    if (engine && qualities.length > 0) {
      const shown = qualities.find((choice) => choice.id === engine.shown)?.label;
      const auto = shown && engine.quality < 0 ? fill(messages.autoNow, { quality: shown }) : messages.auto;
      const options: Option[] = [['-1', auto], ...qualities.map(({ id, label }): Option => [String(id), label])];
      rows.push(this.select('quality', messages.quality, options, String(engine.quality), (value) => (engine.quality = Number(value))));
    }
    const sounds = engine?.sounds ?? [];
    if (engine && sounds.length > 1) {
      const options = sounds.map(({ id, label }): Option => [String(id), label || fill(messages.track, { number: id + 1 })]);
      rows.push(this.select('audio', messages.audio, options, String(engine.sound), (value) => (engine.sound = Number(value))));
    }
    const speeds = SPEEDS.map((rate): Option => [String(rate), rate === 1 ? messages.normal : `${rate}×`]);
    rows.push(this.select('speed', messages.speed, speeds, String(video.playbackRate), (value) => (video.playbackRate = Number(value))));
    return rows;
  }

  private textRows(): HTMLElement[] {
    const { text, messages } = this.subject;
    const full = text.choices.filter((choice) => !choice.forced);
    const label = (choice: (typeof full)[number]) => (choice.captions ? fill(messages.captions, { name: choice.label }) : choice.label);
    const tracks: Option[] = [['', messages.off], ...full.map((choice): Option => [choice.id, label(choice)])];
    const choose = (value: string) => text.choose(value || null);
    const titles = { size: messages.textSize, colour: messages.textColour, background: messages.textBackground };
    const looks = (Object.keys(STYLES) as (keyof TextStyle)[]).map((key) => {
      const options = STYLES[key].map((value): Option => [value, messages[value]]);
      return this.select(key, titles[key], options, preferences.textStyle[key], (value) => {
        preferences.textStyle = { ...preferences.textStyle, [key]: value };
        text.style(preferences.textStyle);
      });
    });
    return [this.select('text', messages.text, tracks, text.chosen ?? '', choose), ...looks];
  }

  private shortcuts(messages: Messages): HTMLElement {
    const input = document.createElement('input');
    input.type = 'checkbox';
    input.name = 'shortcuts';
    input.checked = preferences.shortcuts;
    input.addEventListener('change', () => (preferences.shortcuts = input.checked));
    return this.row(messages.shortcuts, input);
  }

  private select(name: string, title: string, options: Option[], value: string, choose: (value: string) => void): HTMLElement {
    const select = document.createElement('select');
    select.name = name;
    select.append(...options.map(([key, label]) => new Option(label, key, key === value, key === value)));
    select.addEventListener('change', () => choose(select.value));
    return this.row(title, select);
  }

  private row(title: string, control: HTMLElement): HTMLElement {
    const label = document.createElement('label');
    const text = document.createElement('span');
    text.textContent = title;
    label.append(text, control);
    return label;
  }
}
