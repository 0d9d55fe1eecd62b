/** Short messages that are also read out politely. */
class Toasts {
  items: { id: number; text: string }[] = $state([]);
  #next = 1;

  show(text: string, milliseconds: number): void {
    const id = this.#next++;
    this.items.push({ id, text });
    setTimeout(() => this.dismiss(id), milliseconds);
  }

  dismiss(id: number): void {
    this.items = this.items.filter((item) => item.id !== id);
  }
}

export const toasts = new Toasts();
