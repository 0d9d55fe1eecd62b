export default { title: 'Aufträge' };
