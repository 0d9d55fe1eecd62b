/** Asks once before something is destroyed, and lists the losses. */
export interface Question {
  title: string;
  /** The text above the losses; by default, that the action cannot be undone. */
  text?: string;
  /** The losses, one entry each. */
  loses: string[];
  /** The word on the button that does it. */
  action: string;
  /** The word on the button that does not; by default "Cancel". */
  keep?: string;
}

class Confirmation {
  question: Question | null = $state.raw(null);
  #answer: ((yes: boolean) => void) | null = null;

  ask(question: Question): Promise<boolean> {
    this.answer(false);
    this.question = question;
    return new Promise((resolve) => (this.#answer = resolve));
  }

  answer(yes: boolean): void {
    this.#answer?.(yes);
    this.#answer = null;
    this.question = null;
  }
}

export const confirmation = new Confirmation();
